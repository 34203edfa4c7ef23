"""What `fedpriv data describe` finds, and that its blocks load what they describe."""

import gzip
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fedpriv.data import Dataset
from fedpriv.data.proposals import propose
from fedpriv.data.proposals.yaml_text import scalar
from fedpriv.errors import DataError
from fedpriv.targets import build

SHARED = Path(__file__).parents[3] / "shared" / "data"
CONF = Path(__file__).parents[2] / "conf" / "data"


def described(path, /, label=None, user=None):
    return propose(Path(path), label=label, user=user)


def keys(proposal):
    block = yaml.safe_load(proposal.block)
    assert block.pop("defaults") == [proposal.source, "_self_"]
    return block


def loaded(proposal):
    """What the block loads, on top of the choice's own defaults."""
    spec = yaml.safe_load((CONF / f"{proposal.source}.yaml").read_text()) | keys(proposal)
    return build(spec, expected=Dataset, where="data", rng=np.random.default_rng(0))


def write_table(file, columns):
    names = list(columns)
    rows = zip(*columns.values(), strict=True)
    file.write_text("\n".join([",".join(names), *(",".join(map(str, row)) for row in rows)]) + "\n")
    return file


@pytest.fixture
def columns():
    n = 60
    return {
        "record_id": range(500, 500 + n),
        "when": [f"2024-01-{i % 28 + 1:02}" for i in range(n)],
        "name": [f"person {i}" for i in range(n)],
        "site": ["north"] * n,
        "patient": [f"p{i % 12}" for i in range(n)],
        "weight": ["?" if i == 7 else 50 + i / 4 for i in range(n)],
        "smokes": [i % 2 for i in range(n)],
        "stage": [i % 4 + 1 for i in range(n)],
        "visits": [i % 11 for i in range(n)],
        "colour": ["red" if i % 3 else "green" for i in range(n)],
        "outcome": ["ill" if i % 5 else "well" for i in range(n)],
        "notes": [""] * n,
    }


def test_every_kind_of_column_gets_its_place(tmp_path, columns):
    proposal = described(write_table(tmp_path / "t.csv", columns))
    kinds = {row[0]: (row[1], row[5].partition(":")[0]) for row in proposal.rows}
    assert kinds == {
        "record_id": ("id", "left out"),
        "when": ("date", "left out"),
        "name": ("id", "left out"),
        "site": ("constant", "left out"),
        "patient": ("category", "categorical"),
        "weight": ("number", "numeric"),
        "smokes": ("flag", "numeric"),
        "stage": ("codes", "categorical"),
        "visits": ("number", "numeric"),  # 11 values are too many for codes
        "colour": ("category", "categorical"),
        "outcome": ("category", "label"),
        "notes": ("empty", "left out"),
    }
    block = keys(proposal)
    assert block["numeric"] == {"weight": [50, 64.75], "smokes": [0, 1], "visits": [0, 10]}
    assert block["categorical"]["stage"] == [1, 2, 3, 4]
    assert block["categorical"]["colour"] == ["red", "green"]  # the most frequent first
    assert block["missing"] == ["?"]
    assert block["impute"] == {"weight": pytest.approx(np.median([50 + i / 4 for i in range(60) if i != 7]))}
    assert block["classes"] == ["ill", "well"]
    assert any("'outcome'" in note and "guess" in note for note in proposal.notes)
    assert any("--user" in note and "patient" in note for note in proposal.notes)
    assert "release that no guarantee covers" in " ".join(proposal.block.replace("\n#", "").split())


def test_the_block_loads_the_table(tmp_path, columns):
    proposal = described(write_table(tmp_path / "t.csv", columns), label="colour", user="patient")
    data = loaded(proposal)
    assert (len(data.train), len(data.test), data.num_classes) == (48, 12, 2)
    assert len(np.unique(data.users)) == 12
    assert proposal.natural


def test_a_label_of_many_numbers_is_predicted_as_a_number(tmp_path, columns):
    proposal = described(write_table(tmp_path / "t.csv", columns), label="visits")
    assert keys(proposal)["label_range"] == [0, 10]
    assert loaded(proposal).targets == "numbers"


def test_rows_without_a_label_are_left_out(tmp_path, columns):
    columns["outcome"] = ["", *columns["outcome"][1:]]
    data = loaded(described(write_table(tmp_path / "t.csv", columns)))
    assert len(data.train) + len(data.test) == 59


@pytest.mark.parametrize(
    ("encoding", "delimiter"), [("utf-8", ";"), ("latin-1", ","), ("utf-16", "\t"), ("utf-8-sig", "|")]
)
def test_how_the_file_is_written_is_found_out(encoding, delimiter, tmp_path):
    rows = "".join(f"{i}{delimiter}Köln\n{i}{delimiter}Ulm\n" for i in range(15))
    (tmp_path / "t.csv").write_bytes(f"größe{delimiter}stadt\n{rows}".encode(encoding))
    data = loaded(described(tmp_path / "t.csv"))
    assert len(data.train) + len(data.test) == 30


def test_a_first_line_of_data_is_no_header(tmp_path):
    (tmp_path / "t.csv").write_text("".join(f"{i / 2},{i % 2}\n" for i in range(40)))
    proposal = described(tmp_path / "t.csv")
    assert keys(proposal)["columns"] == ["c1", "c2"]
    data = loaded(proposal)
    assert len(data.train) + len(data.test) == 40


def test_a_first_line_with_a_missing_value_is_no_header(tmp_path):
    rows = [f"{i / 2},{i},{'yes' if i % 2 else 'no'}\n" for i in range(40)]
    (tmp_path / "t.csv").write_text("".join(["0.5,?,yes\n", *rows]))
    assert keys(described(tmp_path / "t.csv"))["columns"] == ["c1", "c2", "c3"]


def test_a_header_may_leave_the_index_without_a_name(tmp_path):
    (tmp_path / "t.csv").write_text(",x,y\n" + "".join(f"{i},{i % 20},{i % 2}\n" for i in range(40)))
    assert "columns" not in keys(described(tmp_path / "t.csv", label="y"))


def test_numbers_with_leading_zeros_are_codes(tmp_path):
    table = {
        "zip": [f"{i % 30:05}" for i in range(60)],
        "patient": [f"{i:04}" for i in range(60)],
        "share": [f"0.{i % 40:02}" for i in range(60)],
        "y": [i % 2 for i in range(60)],
    }
    proposal = described(write_table(tmp_path / "t.csv", table), label="y")
    assert [row[1] for row in proposal.rows] == ["category", "id", "number", "flag"]
    assert keys(proposal)["categorical"]["zip"][0] == "00000"
    assert loaded(proposal).train.x.shape[1] == 31 + 1  # 30 codes, others, and the share


def test_a_label_by_its_name_that_teaches_nothing_is_told(tmp_path):
    table = {"x": [i / 2 for i in range(40)], "z": [i % 3 for i in range(40)], "outcome": ["yes"] * 40}
    notes = " ".join(described(write_table(tmp_path / "t.csv", table)).notes)
    assert "'outcome' is no label, though its name says so: it has one value" in notes


def test_large_vocabularies_keep_the_most_frequent_values(tmp_path):
    words = [f"v{i % 200}" for i in range(1000)] + ["often"] * 50
    table = {"word": words, "y": [i % 2 for i in range(len(words))]}
    proposal = described(write_table(tmp_path / "t.csv", table))
    vocabulary = keys(proposal)["categorical"]["word"]
    assert (vocabulary[0], len(vocabulary)) == ("often", 50)
    assert "and 151 more, which count as other" in proposal.block


def test_values_that_hydra_would_change_are_left_to_other(tmp_path):
    table = {"x": ["${a}", "???", "fine", "good"] * 10, "y": [0, 1] * 20}
    block = keys(described(write_table(tmp_path / "t.csv", table)))
    assert block["categorical"]["x"] == ["fine", "good"]


def test_parquet_is_described_too(tmp_path, columns):
    table = {name: list(values) for name, values in columns.items() if name != "weight"}
    pq.write_table(pa.table(table), tmp_path / "t")  # known by its content
    data = loaded(described(tmp_path / "t"))
    assert len(data.train) + len(data.test) == 60


def test_npz_is_described(tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    np.savez(tmp_path / "a.npz", inputs=x, y=np.arange(40) % 3, subject=np.arange(40) // 8, when=np.arange(40.0))
    proposal = described(tmp_path / "a.npz")
    data = loaded(proposal)
    assert (data.num_classes, len(np.unique(data.users))) == (3, 5)
    assert np.abs(data.normalisation.apply(data.train.x)).max() <= 1 + 1e-6
    assert proposal.fitted


def recorded(lengths, users, label_of=lambda i: i // 25 % 3):
    """Noise, recorded in takes of these lengths."""
    n, take = sum(lengths), np.repeat(np.arange(len(lengths)), lengths)
    return {
        "signal": np.random.default_rng(0).normal(size=(n, 3)),
        "activity": label_of(np.arange(n)),
        "subject": np.array(users)[take],
        "trial_id": take,
        "time": np.arange(n),
    }


def test_recordings_of_sensors_become_windows(tmp_path):
    np.savez(tmp_path / "a.npz", **recorded([200, 150, 160, 170], [1, 1, 2, 2]))
    proposal = described(tmp_path / "a.npz")
    block = keys(proposal)
    names = [block[key] for key in ("features", "label", "user", "recording")]
    assert (proposal.source, names) == ("windows", ["signal", "activity", "subject", "trial_id"])
    assert (block["length"], block["stride"], block["test_by"]) == (50, 50, "user")
    assert any("a window of 50 consecutive readings of one recording" in value for _, value in proposal.facts)
    assert "midpoint and half of the range" in proposal.block
    data = loaded(proposal)
    assert len(data.train) + len(data.test) == sum(n // 50 for n in (200, 150, 160, 170))
    assert np.abs(data.train.x).max() <= 1 + 1e-6


def test_short_recordings_get_short_windows(tmp_path):
    np.savez(tmp_path / "a.npz", **recorded([30, 20, 40, 60], [1, 1, 2, 2]))
    assert keys(described(tmp_path / "a.npz"))["length"] == 30


def test_users_who_come_back_to_a_label_were_recorded(tmp_path):
    arrays = recorded([200, 150, 160, 170], [1, 1, 2, 2])
    del arrays["trial_id"]
    np.savez(tmp_path / "a.npz", **arrays)
    assert keys(described(tmp_path / "a.npz"))["recording"] is None
    np.savez(tmp_path / "b.npz", **(arrays | {"activity": np.sort(arrays["activity"])}))  # a sorted table
    assert described(tmp_path / "b.npz").source == "arrays"


def test_examples_in_long_stretches_without_users_may_be_readings(tmp_path):
    arrays = recorded([200, 150], [1, 1])
    np.savez(tmp_path / "a.npz", x=arrays["signal"], y=arrays["activity"])
    proposal = described(tmp_path / "a.npz")
    assert proposal.source == "arrays"
    assert any("data=windows" in note for note in proposal.notes)


def test_labels_with_gaps_come_with_their_number_of_classes(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones((40, 3)), y=np.arange(40) % 2 + 1)
    assert loaded(described(tmp_path / "a.npz")).num_classes == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": np.ones(40, int)}, r"the label 'y' has one class only \(1\): nothing can be learned"),
        ({"y": np.arange(39)}, r"no array of class labels .*y \(39,\)"),
        ({"y": -np.arange(40) % 3 - 1}, "negative"),
        ({"x": np.full((40, 3), np.nan)}, "NaN or infinity"),
    ],
)
def test_arrays_that_would_be_refused_are_not_proposed(changes, message, tmp_path):
    np.savez(tmp_path / "a.npz", **({"x": np.ones((40, 3)), "y": np.arange(40) % 2} | changes))
    with pytest.raises(DataError, match=message):
        described(tmp_path / "a.npz")


@pytest.mark.skipif(not (SHARED / "har_sp_sw").is_dir(), reason="needs the HAR recordings in ../shared/data")
def test_the_har_recordings_are_found():
    proposal = described(SHARED / "har_sp_sw" / "sp.npz")
    block = keys(proposal)
    assert (proposal.source, block["user"], block["recording"]) == ("windows", "subject", "execution")
    assert (proposal.model, proposal.natural) == ("lstm", True)


def test_bytes_need_no_constants_of_the_data(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.full((10, 1, 4, 4), 7, np.uint8), y=np.arange(10) % 2)
    proposal = described(tmp_path / "a.npz")
    assert not proposal.fitted
    assert "release" not in proposal.block
    assert loaded(proposal).normalisation.std == 0.5


def test_idx_files_are_found_by_their_names(tmp_path):
    def write(name, array):
        header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
        (tmp_path / name).write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))

    for part, n in (("train", 20), ("t10k", 10)):
        write(f"{part}-images-idx3-ubyte.gz", np.zeros((n, 4, 4)))
        write(f"{part}-labels-idx1-ubyte.gz", np.arange(n) % 2)
    data = loaded(described(tmp_path / "train-images-idx3-ubyte.gz"))
    assert (len(data.train), len(data.test)) == (20, 10)
    write("train-labels-idx1-ubyte.gz", np.zeros(20))
    with pytest.raises(DataError, match="one class only"):
        described(tmp_path / "train-images-idx3-ubyte.gz")


@pytest.mark.parametrize("by_user", [False, True])
def test_folders_of_images_are_described(by_user, tmp_path):
    for user in ("ann", "bob") if by_user else (".",):
        for kind in ("cat", "dog"):
            folder = tmp_path / "pictures" / user / kind
            folder.mkdir(parents=True)
            for i in range(5):
                side = 6 if i else 8
                Image.fromarray(np.full((side, side), 9, np.uint8)).save(folder / f"{i}.png")
    proposal = described(tmp_path / "pictures")
    assert keys(proposal)["size"] == [6, 6]
    data = loaded(proposal)
    assert data.train.x.shape[1:] == (1, 6, 6)
    assert (data.users is not None) == by_user == proposal.natural


def test_folders_that_cannot_be_learned_from_are_told(tmp_path):
    for i in range(3):
        (tmp_path / "photos" / "cat").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 6), i, np.uint8)).save(tmp_path / "photos" / "cat" / f"{i}.png")
    with pytest.raises(DataError, match=r"one class only \(cat\): nothing can be learned"):
        described(tmp_path / "photos")
    (tmp_path / "photos" / "dog").mkdir()
    with pytest.raises(DataError, match=r"The class folder .*dog has no images"):
        described(tmp_path / "photos")


def test_plays_are_described(tmp_path):
    speech = "\n".join(["To be, or not to be: that is the question."] * 4)
    (tmp_path / "play.txt").write_text("\n\n".join(f"{name}:\n{speech}" for name in ("HAMLET", "YORICK") * 3))
    proposal = described(tmp_path / "play.txt")
    assert [row[0] for row in proposal.rows] == ["HAMLET", "YORICK"]
    data = loaded(proposal)
    assert data.targets == "sequences"
    assert len(np.unique(data.users)) == 2


def test_folders_of_save_to_disk_are_described(tmp_path):
    os.environ["HF_HUB_OFFLINE"] = "1"
    datasets = pytest.importorskip("datasets")
    rows = {"a": [1.0, 2.0, 3.0, 4.0] * 5, "name": list("wxyz") * 5, "label": [0, 1] * 10, "who": [1, 1, 2, 2] * 5}
    table = datasets.Dataset.from_dict(rows)
    table.save_to_disk(tmp_path / "one")
    datasets.DatasetDict(train=table, test=table).save_to_disk(tmp_path / "two")
    for name, train, test in (("one", 16, 4), ("two", 20, 20)):
        data = loaded(described(tmp_path / name, user="who"))
        assert (len(data.train), len(data.test), data.train.x.shape[1]) == (train, test, 1)
        assert np.unique(data.normalisation.apply(data.train.x)).max() == 1
    datasets.Dataset.from_dict(rows | {"label": [1] * 20}).save_to_disk(tmp_path / "three")
    with pytest.raises(DataError, match="'label' has one class only: nothing can be learned"):
        described(tmp_path / "three")


@pytest.mark.parametrize(
    ("name", "content", "changes", "message"),
    [
        ("gone.csv", None, {}, "There is nothing at"),
        ("a.bin", b"\x01\x02\x03\x04", {}, "of no kind that can be described"),
        ("a.txt", b"just some words\nand more\n", {}, "of no kind that can be described"),
        ("a.csv", b"", {}, "is empty"),
        ("a.csv", b"x,y\n", {}, "has a header but no rows"),
        ("a.csv", b"x,y\n1,2\n1,2,3\n", {}, "line 3 has 3 values"),
        ("a.csv", b"x,y\n1,a\n2,b\n", {"label": "z"}, r"no column 'z' \(--label\)"),
        ("a.csv", b"x,y\n1,a\n2,b\n", {"user": "X"}, r"no column 'X' \(--user\). Did you mean 'x'"),
        ("a.csv", b"x,y\n1,a\n2,a\n", {"label": "y"}, r"'y' cannot be the label: it has one value only \(a\)"),
        ("a.csv", b"x,y\n1,a\n1,a\n", {}, "no column that could be a label"),
        ("a.csv", b"x,y\n1,2\n1,3\n", {}, r"the label 'y' \('x' is left out: it has one value\): nothing"),
        ("a.csv", b"a,a,y\n1,2,p\n3,4,q\n", {}, "two columns named 'a'"),
        ("a.csv", b"id,,\n1,2,p\n3,4,q\n", {}, "two columns named ''"),
        ("a.csv.gz", gzip.compress(b"x,y\n" * 99, mtime=0)[:20], {}, "damaged or truncated gzip"),
    ],
)
def test_what_cannot_be_described_is_told(name, content, changes, message, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        described(tmp_path / name, **changes)


def test_an_empty_folder_is_told(tmp_path):
    with pytest.raises(DataError, match="of no kind that can be described"):
        described(tmp_path)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_text_survives_yaml(text):
    assert yaml.safe_load(f"{scalar('key')}: {scalar(text)}") == {"key": text}
