"""Tells recordings of sensors, a reading a row, from tables of independent examples."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from fedpriv.data.dataset import Array, IntArray

_LONG = 10  # rows that a stretch has on average
_LENGTH = 50  # readings of a window, where recordings are long enough


@dataclass(frozen=True, kw_only=True)
class Recordings:
    """Attributes:
    count: how many there are.
    length: of windows that most of them hold.
    test_by: ``user`` where each of them shows several classes, so that a test of whole users does too.
    """

    count: int
    length: int
    test_by: Literal["recording", "user"]

    @property
    def example(self) -> str:
        """What one example is, in words."""
        return f"a window of {self.length} consecutive readings of one recording"


def in_long_stretches(ids: Array) -> bool:
    """Whether the same value stands in many rows after another."""
    return len(ids) >= _LONG * len(_stretches(ids))


def find_recordings(*, x: Array, labels: Array, users: Array | None, ids: Array | None) -> Recordings | None:
    """None unless ``x`` is floats (n, channels) in the order of time, as labels, users and recordings tell.

    Without ids of recordings somebody must come back to a label: rows that are merely sorted never do.

    Args:
        labels, users, ids: of labels, users and recordings, (n,).
    """
    if x.ndim != 2 or x.dtype.kind != "f" or (users is None and ids is None):
        return None
    owners, takes = (np.zeros(len(x), np.int64) if given is None else given for given in (users, ids))
    if not all(map(in_long_stretches, (labels, owners, takes))):
        return None
    recordings, borders = _pairs(owners, takes)
    sizes = np.sort(np.diff([*borders, len(x)]))
    labelled, changes = _pairs(owners, labels)
    if recordings.max() < 1 or (ids is None and len(changes) == labelled.max() + 1):
        return None
    people, kinds = np.unique(np.unique(np.stack([owners, labels]).astype(np.int64), axis=1)[0], return_counts=True)
    return Recordings(
        count=int(recordings.max()) + 1,
        length=min(_LENGTH, int(sizes[(len(sizes) - 1) // 2])),
        test_by="user" if len(people) > 1 and kinds.min() > 1 else "recording",
    )


def _pairs(a: Array, b: Array) -> tuple[IntArray, IntArray]:
    """Distinct pairs numbered, (n,), and the rows where a stretch of one pair begins."""
    of = np.unique(np.stack([a, b]).astype(np.int64), axis=1, return_inverse=True)[1].ravel()
    return of, _stretches(of)


def _stretches(values: Array) -> IntArray:
    """Rows where a value begins that the row before has not."""
    return np.append(0, np.flatnonzero(values[1:] != values[:-1]) + 1)
