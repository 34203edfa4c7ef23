"""Windows of sensors by subject, and of characters by speaker."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.data import federate, sources
from fedpriv.data.partitions import natural
from fedpriv.data.sources.play_text import PRINTABLE_ASCII
from fedpriv.errors import ConfigError, DataError

SHARED = Path(__file__).parents[3] / "shared" / "data"


def rng(seed=0):
    return np.random.default_rng(seed)


def load_windows(file, /, **changes):
    arguments = {
        "root": None, "path": str(file), "features": "x", "label": "y", "user": "who", "recording": "take",
        "length": 4, "stride": 4, "test_fraction": 0.25, "test_by": "recording", "public": False,
        "num_classes": None, "mean": 0.0, "std": 1.0, "rng": rng(),
    }  # fmt: skip
    return sources.windows(**(arguments | changes))


def readings(lengths=(10, 8, 3, 9), users=(5, 5, 7, 7)):
    """Recordings whose two channels are the reading's number and its negative; labels change every five readings."""
    n = sum(lengths)
    x = np.stack([np.arange(n), -np.arange(n)], axis=1).astype(np.float64)
    take = np.repeat(np.arange(len(lengths)), lengths)
    return {"x": x, "y": np.arange(n) // 5 % 2, "who": np.array(users)[take], "take": take % 2}


@pytest.fixture
def file(tmp_path):
    np.savez(tmp_path / "a.npz", **readings())
    return tmp_path / "a.npz"


def first_readings(data):
    return sorted(int(x[0, 0]) for part in (data.train, data.test) for x in part.x)


def test_windows_are_consecutive_readings_of_one_recording(file):
    data = load_windows(file)
    # Recordings start at readings 0, 10, 18 (too short for a window) and 21.
    assert first_readings(data) == [0, 4, 10, 14, 21, 25]
    assert (data.train.x.shape[1:], data.train.x.dtype) == ((4, 2), np.float32)
    for window in data.train.x:
        np.testing.assert_array_equal(window[:, 0], window[0, 0] + np.arange(4))
        np.testing.assert_array_equal(window[:, 1], -window[:, 0])


def test_windows_overlap_by_the_stride(file):
    assert first_readings(load_windows(file, stride=3)) == [0, 3, 6, 10, 13, 21, 24]


def test_a_window_has_the_label_of_most_of_its_readings(file):
    data = load_windows(file)
    labels = {int(x[0, 0]): int(y) for part in (data.train, data.test) for x, y in zip(part.x, part.y, strict=True)}
    # Readings 4 ... 7 are 0, 1, 1, 1; 14 ... 17 are 0, 1, 1, 1; 25 ... 28 are 1, 1, 1, 1; 21 ... 24 are 0.
    assert labels == {0: 0, 4: 1, 10: 0, 14: 1, 21: 0, 25: 1}


def test_among_equally_frequent_labels_the_lowest_is_taken(tmp_path):
    labels = np.tile([1, 1, 0, 0, 0, 1, 1, 1], 2)
    np.savez(tmp_path / "a.npz", **(readings((8, 8), (1, 2)) | {"y": labels}))
    data = load_windows(tmp_path / "a.npz", test_fraction=0.5)
    assert [sorted(part.y) for part in (data.train, data.test)] == [[0, 1], [0, 1]]


@pytest.mark.parametrize(
    ("by", "fraction", "message"),
    [
        ("recording", 0.2, r"test_by=recording leaves the test part with one class \(\d\) of 3.*data\.test_by=user"),
        ("recording", 0.9, r"leaves the training part with one class .* or a smaller data\.test_fraction"),
        ("user", 0.3, r"data\.test_by=user leaves the test part .*seeds\.data.*data\.test_by=recording or a larger"),
    ],
)
def test_recordings_that_leave_a_part_with_one_class_are_told(tmp_path, by, fraction, message):
    parts = readings([8] * 6, np.arange(6) // 2)
    np.savez(tmp_path / "a.npz", **(parts | {"y": parts["who"]}))
    with pytest.raises(ConfigError, match=message):
        load_windows(tmp_path / "a.npz", test_by=by, test_fraction=fraction)


@given(st.lists(st.integers(1, 12), min_size=2, max_size=6), st.integers(1, 5), st.integers(1, 6))
def test_windows_are_as_a_plain_loop_cuts_them(lengths, length, stride):
    if max(lengths) < length:
        return
    borders = np.cumsum([0, *lengths])
    expected = [
        start
        for begin, end in pairwise(borders)
        for start in range(begin, end - length + 1, stride)
    ]
    recordings = np.repeat(np.arange(len(lengths)), lengths)
    assert sources.sensor_windows._window_starts(recordings, length, stride).tolist() == expected


@pytest.mark.parametrize("by", ["recording", "user"])
def test_no_recording_and_no_user_is_on_both_sides(tmp_path, by):
    parts = readings([12] * 12, np.arange(12) // 3)
    np.savez(tmp_path / "a.npz", **parts)
    data = load_windows(tmp_path / "a.npz", stride=1, test_by=by)
    owner = parts["who"] if by == "user" else np.repeat(np.arange(12), 12)
    sides = [{int(owner[int(x[0, 0])]) for x in part.x} for part in (data.train, data.test)]
    assert sides[0].isdisjoint(sides[1])
    assert len(sides[1]) == (1 if by == "user" else 3)
    assert data.users.tolist() == [parts["who"][int(x[0, 0])] for x in data.train.x]


def test_a_window_crosses_no_user_even_where_recordings_have_no_id(file):
    assert first_readings(load_windows(file, recording=None)) == [0, 4, 8, 12, 18, 22, 26]


def test_constants_are_by_channel_and_public(file):
    data = load_windows(file, mean=[1.0, 0.0], std=[2.0, 4.0])
    window = data.train.x[0]
    number = window[0, 0] * 2 + 1
    assert window[0, 1] == -number / 4
    assert data.normalisation is None


@pytest.mark.parametrize(
    ("arrays", "changes", "error", "message"),
    [
        ({}, {"user": "id"}, DataError, r"no array 'id' .*set data\.user"),
        ({}, {"features": "X"}, DataError, r"no array 'X' .*set data\.features"),
        ({}, {"label": "z"}, DataError, r"no array 'z' .*set data\.label"),
        ({}, {"recording": "z"}, DataError, r"no array 'z' .*set data\.recording"),
        ({"y": np.arange(29) % 2}, {}, DataError, r"'y' have 29 entries for 30"),
        ({"who": np.arange(29)}, {}, DataError, r"data\.user=who have 29 entries for 30"),
        ({"take": np.arange(29)}, {}, DataError, r"data\.recording=take have 29 entries for 30"),
        ({"who": np.ones(30)}, {}, DataError, r"data\.user=who have dtype float64"),
        ({"y": np.ones(30, int)}, {}, DataError, r"are all 1, so there is nothing to learn"),
        ({"x": np.ones((30, 2, 2))}, {}, DataError, r"shape \(30, 2, 2\): store \(readings, channels\)"),
        ({"x": np.arange(30.0)}, {}, DataError, r"shape \(30,\)"),
        ({"x": np.full((30, 2), np.nan)}, {}, DataError, r"NaN or infinity"),
        ({}, {"length": 11}, DataError, r"data\.length=11 is longer than every recording \(the longest has 10"),
        ({}, {"mean": [1.0, 2.0, 3.0]}, DataError, r"data\.mean has 3 values"),
        ({}, {"user": None, "recording": None}, DataError, r"has one recording"),
        ({}, {"user": None, "test_by": "user"}, ConfigError, r"data\.test_by=user needs user ids"),
        ({}, {"length": 0}, ConfigError, r"data\.length=0"),
        ({}, {"stride": 0}, ConfigError, r"data\.stride=0"),
        ({}, {"test_fraction": 1.0}, ConfigError, r"test_fraction=1\.0"),
        ({}, {"path": None}, ConfigError, r"data\.path is not set"),
    ],
)
def test_recordings_that_cannot_be_cut_are_told(tmp_path, arrays, changes, error, message):
    np.savez(tmp_path / "a.npz", **(readings() | arrays))
    with pytest.raises(error, match=message):
        load_windows(tmp_path / "a.npz", **changes)


@pytest.mark.skipif(not (SHARED / "har_sp_sw").is_dir(), reason="needs the HAR recordings in ../shared/data")
def test_phones_of_23_subjects_make_windows_of_five_activities():
    data = load_windows(
        SHARED / "har_sp_sw/sp.npz", label="label", user="subject", recording="execution", length=50, stride=50,
        test_by="user", test_fraction=0.2,
    )  # fmt: skip
    assert data.train.x.shape[1:] == (50, 6)
    assert len(np.unique(data.users)) == 18  # of 23 subjects, 5 are for the test
    assert data.num_classes == 5
    with np.load(SHARED / "har_sp_sw/sp.npz") as file:
        runs = np.unique(np.stack([file["subject"], file["execution"]]), axis=1, return_counts=True)[1]
    assert len(runs) == len((SHARED / "har_sp_sw/executions_info.csv").read_text().splitlines()) - 1
    assert len(data.train) + len(data.test) == (runs // 50).sum()


# Characters

PLAY = """\
A title without a speaker

FIRST:
abcdefghijkl

SECOND:
Né\u20ac
a: b

FIRST:
mnopqrst

uvwxyz
"""


def load_characters(file, /, **changes):
    arguments = {
        "root": None, "path": str(file), "encoding": "utf-8", "length": 3, "alphabet": None,
        "test_fraction": 0.4, "test_by": "time", "public": False, "rng": rng(),
    }  # fmt: skip
    return sources.characters(**(arguments | changes))


@pytest.fixture
def play(tmp_path):
    (tmp_path / "play.txt").write_text(PLAY, encoding="utf-8")
    return tmp_path / "play.txt"


def texts(part, alphabet=PRINTABLE_ASCII):
    """Each example as its characters and the one after; ? for those outside the alphabet."""
    rows = np.concatenate([part.x[:, :1].astype(int), part.y], axis=1)
    return ["".join((alphabet + "?")[token] for token in row) for row in rows]


def test_examples_are_pieces_of_what_a_speaker_says_and_the_last_are_the_test(play):
    data = load_characters(play)
    # FIRST says abcdefghijkl, newline, mnopqrst, newline, uvwxyz: seven windows of four; SECOND has two.
    assert texts(data.train) == ["abcd", "efgh", "ijkl", "\nmno", "pqrs", "N??\n", "a: b"]
    assert texts(data.test) == ["t\nuv", "wxyz"]
    assert data.users.tolist() == [0] * 5 + [1] * 2


def test_targets_are_the_inputs_one_later(play):
    data = load_characters(play)
    assert data.targets == "sequences"
    assert data.num_classes == data.num_tokens == 97  # newline, 95 printable ASCII characters, and all others
    np.testing.assert_array_equal(data.train.x[:, 1:], data.train.y[:, :-1])
    assert (data.train.x.dtype, data.train.y.dtype) == (np.uint8, np.int64)


def test_an_alphabet_of_ones_own_tells_its_characters_apart(play):
    data = load_characters(play, alphabet="aé")
    assert data.num_tokens == 3
    assert texts(data.train, "aé")[0] == "a???"
    assert texts(data.train, "aé")[5] == "?é??"


def test_whole_speakers_may_be_the_test(play):
    data = load_characters(play, test_by="user")
    assert {len(data.train), len(data.test)} == {2, 7}
    assert len(np.unique(data.users)) == 1


@pytest.mark.parametrize(
    ("encoding", "mark", "newline"), [("utf-8", "\ufeff", "\n"), ("utf-16", "", "\r\n"), ("utf-8", "", "\r")]
)
def test_other_encodings_and_line_ends_read_the_same(play, encoding, mark, newline):
    expected = load_characters(play)
    play.write_bytes((mark + PLAY.replace("\n", newline)).encode(encoding))
    np.testing.assert_array_equal(load_characters(play, encoding=encoding).train.x, expected.train.x)


def test_a_speaker_with_one_window_trains_and_is_dropped_by_the_partition_if_too_small(play):
    play.write_text("A:\nabcd\n\nB:\nabcdefghijkl\n")
    data = load_characters(play)
    assert data.users.tolist() == [0, 1, 1]
    for least, kept in ((1, 2), (2, 1)):
        labels = data.train.y[:, 0]
        assignment = natural(
            labels=labels, users=data.users, num_classes=97, num_clients=None, rng=rng(), min_examples=least
        )
        assert federate(data, assignment, num_clients=None, min_examples=least).num_clients == kept


@pytest.mark.parametrize(
    ("content", "changes", "error", "message"),
    [
        (PLAY.encode("latin-1", "replace"), {}, DataError, r"is not utf-8 text .*data\.encoding"),
        (PLAY.encode("utf-16"), {}, DataError, r"is not utf-8 text"),
        (b"No names here.\n\nNone: here.\n", {}, DataError, r"has no speakers"),
        (b"", {}, DataError, r"has no speakers"),
        (b"\x89PNG\r\n\0\0\0\r", {}, DataError, r"has NUL bytes: it is no text"),
        (b"A:\nab\0cd\n", {}, DataError, r"has NUL bytes: it is no text"),
        (b"A:\nabc\n\nB:\nd\n", {}, DataError, r"data\.length=3 is longer .* the 2 speakers .*at most 3 characters"),
        (b"A:\nabcd\n\nB:\nabcd\n", {}, ConfigError, r"test_fraction is 0\.4, and no speaker has windows enough"),
        (b"A:\nabcd\n", {"test_by": "user"}, ConfigError, r"1 users leaves one side empty"),
        (b"A:\nabcd\n", {"encoding": "utf-9"}, ConfigError, r"data\.encoding=utf-9 is unknown"),
        (b"A:\nabcd\n", {"length": 0}, ConfigError, r"data\.length=0"),
        (b"A:\nabcd\n", {"alphabet": "aa"}, ConfigError, r"data\.alphabet must name each character once"),
        (b"A:\nabcd\n", {"alphabet": ""}, ConfigError, r"data\.alphabet"),
        (b"A:\nabcdefghijkl\n", {"test_fraction": 1.0}, ConfigError, r"test_fraction is 1\.0"),
        (b"A:\nabcd\n", {"path": None}, ConfigError, r"data\.path is not set"),
    ],
)
def test_texts_that_cannot_be_cut_are_told(play, content, changes, error, message):
    play.write_bytes(content)
    with pytest.raises(error, match=message):
        load_characters(play, **changes)


@pytest.mark.skipif(not (SHARED / "shakespeare_tiny").is_dir(), reason="needs Tiny Shakespeare in ../shared/data")
def test_tiny_shakespeare_has_309_roles():
    file = SHARED / "shakespeare_tiny/input.txt"
    lengths = np.array([*map(len, sources.play_text._by_speaker(file.read_text(), where="").values())])
    assert (len(lengths), (lengths >= 1000).sum(), (lengths >= 5000).sum()) == (309, 141, 64)  # as its page counts
    data = load_characters(file, length=80, test_fraction=0.2)
    assert data.train.x.shape[1] == 80
    assert len(data.train) + len(data.test) == (lengths // 81).sum()
    assert max(data.train.x.max(), data.test.x.max()) < 96  # all its characters are printable ASCII
