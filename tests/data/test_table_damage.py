"""Tables that cannot be used: one message with the file, the line or column, and the mend."""

import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_table import PEOPLE, load

from fedpriv.errors import DataError


@pytest.fixture
def file(tmp_path):
    return tmp_path / "people.csv"


def replaced(old, new):
    assert old in PEOPLE
    return PEOPLE.replace(old, new).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"id,age,job,sex,sick\n", "has a header but no rows"),
        (replaced("clown", "cløwn").decode().encode("latin-1"), r"not utf-8 \(line 5 .* 0xf8\).*data.encoding=latin-1"),
        (PEOPLE.encode("utf-16"), r"not utf-8 \(line 1.*data.encoding=utf-16"),
        (PEOPLE.encode("utf-16-le"), "NUL characters.*data.encoding=utf-16"),
        (replaced("c,40,nurse,m,no", "c,40,nurse,m"), "line 4 has 4 values, but there are 5 columns"),
        (replaced("c,40,nurse,m,no", 'c,40,"nurse\nmate",m,no,7'), "line 5 has 6 values, but there are 5 columns"),
        (replaced("id,age", "age,age"), "two columns named 'age'"),
        (replaced("age,", "Age,"), "no column 'age'.*Did you mean 'Age'"),
        (replaced("sick", "ill"), r"no column 'sick' \(data.label\)"),
        (replaced("40", "forty"), "'age' has 'forty' in row 3, which is no number"),
        (replaced("40", "inf"), "'age' has 'inf' in row 3"),
        (replaced("40", "1,5").replace(b"c,1,5", b'c,"1,5"'), "'age' has '1,5' in row 3"),
        (replaced("40", ""), r"'age' has no value in row 3: .*data.impute \{age"),
        (replaced("20", "").replace(b"40", b""), "no value in row 1 and 1 more"),
        (replaced("m,no\nd", "m,\nd"), "'sick' has no value in row 3.*data.drop_missing"),
        (replaced("m,no\nd", "m,maybe\nd"), "'sick' is 'maybe' in row 3, which is not in data.classes"),
        (replaced("no", "yes"), "one class in all 6 rows"),
        (replaced("nurse", "x").replace(b"smith", b"y"), "no value of the column 'job' is in data.categorical"),
        (replaced(",", ";"), "has one column when it is cut at ','.*data.delimiter=';'"),
        (b"PK\x03\x04 and so on", "a zip or Excel file"),
        (b"PAR1 and so on", "a damaged Parquet file"),
        (gzip.compress(PEOPLE.encode(), mtime=0)[:40], "damaged or truncated gzip"),
    ],
)
def test_a_damaged_table_is_told_in_one_line(content, message, file):
    file.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        load(file)
    assert str(file) in str(caught.value) or "one class" in message
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"columns": ["a", "b"]}, "line 1 has 5 values, but data.columns names 2"),
        ({"classes": None}, "'sick' has 'yes' in row 1.*data.classes"),
        ({"user": "job"}, "'job' has no value in row 5: a row needs a user"),
        ({"user": "wer"}, r"no column 'wer' \(data.user\)"),
        ({"groups": ["race"]}, r"no column 'race' \(data.groups\)"),
        ({"test_column": "id", "test_value": "z"}, "no row is 'z'"),
        ({"label": None, "classes": None, "time": "age", "event": "sex"}, "'sex' has 'f' in row 1"),
        ({"label": None, "classes": None, "time": "age", "event": "age"}, "'age' is '20' in row 1: write 1"),
        ({"encoding": "ascii", "comment": "a"}, None),
    ],
)
def test_a_table_that_does_not_fit_the_config_is_told(settings, message, file):
    file.write_text(PEOPLE)
    if message is None:
        assert len(load(file, **settings).train) == 3  # person a is taken for a comment
        return
    with pytest.raises(DataError, match=message):
        load(file, **settings | ({"numeric": {}} if "time" in settings else {}))


def test_labels_with_holes_are_told(file):
    file.write_text(PEOPLE.replace("yes", "3").replace("no", "0"))
    with pytest.raises(DataError, match=r"not 0 ... K-1"):
        load(file, classes=None)


def test_negative_times_are_told(file):
    file.write_text("t,e,age\n1,1,20\n-2,0,30\n")
    with pytest.raises(DataError, match="'t' is -2 in row 2"):
        load(file, label=None, classes=None, time="t", event="e", categorical={})


def test_a_joined_file_must_fit(file, tmp_path):
    file.write_text(PEOPLE)
    join = {"join": str(tmp_path / "j.csv"), "join_on": "id"}
    files = {"id,x\na,1\na,2\n": "a value twice", "id,x\nq,1\n": "no value of 'id'", "x,y\n1,2\n": "no column 'id'"}
    for text, message in files.items():
        (tmp_path / "j.csv").write_text(text)
        with pytest.raises(DataError, match=message):
            load(file, **join)


def test_rows_keep_their_numbers_when_others_are_left_out(file):
    file.write_text(PEOPLE.replace("a,20", "a,").replace("d,50", "d,fifty"))
    with pytest.raises(DataError, match="row 4"):
        load(file, drop_missing=["age"])


def test_columns_of_lists_are_told(tmp_path):
    table = {"age": [[1], [2]], "job": ["nurse", "smith"], "sick": ["yes", "no"]}
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="'age' holds list"):
        load(tmp_path / "t.parquet")


def test_large_whole_numbers_are_numbers(tmp_path):
    table = {"age": np.array([2**62 + 1, 2**61 + 1]), "job": ["nurse", "smith"], "sick": ["yes", "no"]}
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    assert len(load(tmp_path / "t.parquet", test_fraction=0.5).train) == 1
