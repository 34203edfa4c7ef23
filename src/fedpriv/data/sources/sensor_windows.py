"""Recordings of sensors, cut into windows."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from fedpriv.data.checks import check_features, check_labels, check_length, check_users, infer_num_classes
from fedpriv.data.dataset import Array, Dataset, Examples, IntArray, Normalisation
from fedpriv.data.sources.files import resolve
from fedpriv.data.sources.npz_format import Npz
from fedpriv.data.sources.split import check_classes, split_users
from fedpriv.errors import ConfigError, DataError


def windows(
    *,
    root: str | None,
    path: str | None,
    features: str,
    label: str,
    user: str | None,
    recording: str | None,
    length: int,
    stride: int,
    test_fraction: float,
    test_by: Literal["recording", "user"],
    public: bool,
    num_classes: int | None,
    mean: float | Sequence[float],
    std: float | Sequence[float],
    rng: np.random.Generator,
) -> Dataset:
    """Windows of ``length`` consecutive readings, x float32 (n, length, channels), from one npz file.

    A window lies within one recording, and windows of one recording are all for training or all for the test. Its
    label is that of most of its readings (among equals, the lowest). Recordings shorter than a window give none.

    Args:
        root: folder where relative paths start; None: the current one.
        path: the npz file.
        features: key of the readings in the order of time, real numbers, (readings, channels).
        label: key of each reading's class label, (readings,).
        user: key of the integer user ids, (readings,); None where unknown.
        recording: key of the integer ids of recordings, (readings,), counted for each user; None: one for each user.
        length: readings of a window.
        stride: readings from one window's start to the next's; below ``length`` a reading is in several examples.
        test_by: ``recording``, or ``user``: whole users are for the test.
        public: whether everybody may see these examples.
        num_classes: None: labels must be exactly 0 ... K-1.
        mean, std: public constants, one or one per channel: (x - mean) / std.

    Raises:
        DataError: a missing or broken file or key, arrays that don't fit, or no window at all.
        ConfigError: no file named, or settings that can't be.
    """
    if length < 1 or stride < 1:
        raise ConfigError(f"data.length={length} and data.stride={stride} must be whole numbers >= 1.")
    if test_by == "user" and user is None:
        raise ConfigError("data.test_by=user needs user ids: set data.user, or data.test_by=recording.")
    file = resolve(path=path, root=root, key="data.path")
    content = Npz(file)
    readings = content.get(features, "data.features")
    check_features(readings, where=f"{file}: the readings {features!r}")
    if readings.ndim != 2:
        raise DataError(f"{file}: {features!r} have shape {readings.shape}: store (readings, channels).")
    source = f"{file}: the labels {label!r}"
    labels = check_labels(content.get(label, "data.label"), where=source, num_classes=num_classes)
    check_length(source, len(labels), len(readings))
    classes = infer_num_classes(labels, where=source) if num_classes is None else num_classes

    def ids(key: str | None, setting: str) -> IntArray:
        if key is None:
            return np.zeros(len(readings), np.int64)
        where = f"{file}: {setting}={key}"
        found = check_users(content.get(key, setting), where=where)
        check_length(where, len(found), len(readings))
        return found

    owners = ids(user, "data.user")
    recordings = np.unique(np.stack([owners, ids(recording, "data.recording")]), axis=1, return_inverse=True)[1].ravel()
    starts = _window_starts(recordings, length, stride)
    rows = starts[:, np.newaxis] + np.arange(length)

    normalisation = Normalisation(scale=1.0, mean=mean, std=std)
    normalisation.check(readings.shape[1:])
    x: Array = normalisation.apply(readings)[rows]
    y = _majority(labels[rows], classes)
    split_by = owners[starts] if test_by == "user" else recordings[starts]
    if test_by == "recording" and len(np.unique(split_by)) < 2:
        raise DataError(
            f"{file} has one recording, so none can be kept for the test: set data.recording or data.user to the key "
            "that tells recordings apart."
        )
    train, test = split_users(users=split_by, test_fraction=test_fraction, rng=rng)
    otherwise = "recording" if test_by == "user" else "user" if user is not None else None
    check_classes(y, train=train, test=test, test_by=test_by, otherwise=otherwise)
    return Dataset(
        train=Examples(x[train], y[train]),
        test=Examples(x[test], y[test]),
        users=None if user is None else owners[starts][train],
        num_classes=classes,
        public=public,
        caveats=() if stride >= length else (_OVERLAP.format(-(-length // stride)),),
    )


_OVERLAP = "readings by themselves: windows overlap, so a reading is in up to {} examples, and only one is counted"


def _window_starts(recordings: IntArray, length: int, stride: int) -> IntArray:
    """First reading of every window; a recording ends where its id changes."""
    borders = np.flatnonzero(np.diff(recordings)) + 1
    begins, ends = np.append(0, borders), np.append(borders, len(recordings))
    if length > (longest := int((ends - begins).max())):
        raise DataError(
            f"data.length={length} is longer than every recording (the longest has {longest} readings): choose shorter "
            "windows, or check data.recording."
        )
    pieces = [np.arange(begin, end - length + 1, stride) for begin, end in zip(begins, ends, strict=True)]
    return np.concatenate(pieces).astype(np.int64)


def _majority(labels: IntArray, num_classes: int) -> IntArray:
    """The most frequent label of each row."""
    cells = np.arange(len(labels))[:, np.newaxis] * num_classes + labels
    counts = np.bincount(cells.ravel(), minlength=len(labels) * num_classes).reshape(len(labels), num_classes)
    majority: IntArray = counts.argmax(axis=1).astype(np.int64)
    return majority
