"""What a table's rows are labelled with: a class, a number, or a survival time and event."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from fedpriv.data.checks import check_labels, infer_num_classes
from fedpriv.data.dataset import Array
from fedpriv.data.sources.table_columns import Rows, Vocabulary
from fedpriv.data.sources.table_features import range_of
from fedpriv.errors import ConfigError, DataError

_MEND_MISSING = "a row to learn from needs one; set data.drop_missing=true to leave such rows out"


class Labels(Protocol):
    """How labels are read.

    Attributes:
        columns: column -> the config key that names it.
        label_range: of numbers; see ``Dataset``.
    """

    @property
    def columns(self) -> dict[str, str]: ...

    @property
    def label_range(self) -> tuple[float, float] | None: ...

    def read(self, rows: Rows) -> Array:
        """As ``Dataset``'s targets."""
        ...

    def num_classes(self, y: Array) -> int | None:
        """Of the labels of all rows, None where labels are no classes; DataError where they are all the same."""
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class Classes:
    """Classes in the order of ``vocabulary``; without one the labels are the numbers 0 ... K-1."""

    column: str
    vocabulary: Vocabulary | None
    label_range: None = None

    @property
    def columns(self) -> dict[str, str]:
        return {self.column: "data.label"}

    def read(self, rows: Rows) -> Array:
        rows.require(self.column, mend=_MEND_MISSING)
        if self.vocabulary is None:
            mend = "list the classes in data.classes, or give data.label_range if the labels are numbers to predict"
            numbers = rows.floats(self.column, mend=mend)
            return check_labels(numbers, where=f"{rows.where}: the labels {self.column!r}", num_classes=None)
        codes = rows.codes(self.column, self.vocabulary)
        stray = codes == len(self.vocabulary)
        if stray.any():
            raise DataError(
                f"{rows.where}: the label {self.column!r} is {rows.value(self.column, stray)!r} in row "
                f"{rows.number_of(stray)}, which is not in data.classes: add it there, or correct the row."
            )
        return codes

    def num_classes(self, y: Array) -> int:
        if len(np.unique(y)) < 2:
            raise DataError(
                f"The label {self.column!r} has one class in all {len(y):,} rows: there is nothing to learn. "
                "Check data.label and data.classes."
            )
        if self.vocabulary is not None:
            return len(self.vocabulary)
        return infer_num_classes(y.astype(np.int64), where=f"The labels {self.column!r}")


@dataclass(frozen=True, eq=False, kw_only=True)
class Numbers:
    """Numbers to predict, as they are; the task scales them by their public range."""

    column: str
    label_range: tuple[float, float]

    @property
    def columns(self) -> dict[str, str]:
        return {self.column: "data.label"}

    def read(self, rows: Rows) -> Array:
        rows.require(self.column, mend=_MEND_MISSING)
        numbers = rows.floats(self.column, mend="correct it, or give data.classes instead of data.label_range")
        return numbers.astype(np.float32)

    def num_classes(self, y: Array) -> None:
        if len(np.unique(y)) < 2:
            raise DataError(f"The label {self.column!r} has one value in all {len(y):,} rows: check data.label.")


@dataclass(frozen=True, eq=False, kw_only=True)
class Survival:
    """Times and events, (n, 2)."""

    time: str
    event: str
    label_range: None = None

    @property
    def columns(self) -> dict[str, str]:
        return {self.time: "data.time", self.event: "data.event"}

    def read(self, rows: Rows) -> Array:
        for column in self.columns:
            rows.require(column, mend=_MEND_MISSING)
        times = rows.floats(self.time, mend="correct it, or set data.time")
        if (early := times < 0).any():
            raise DataError(
                f"{rows.where}: the time {self.time!r} is {rows.value(self.time, early)} in row "
                f"{rows.number_of(early)}: times must be >= 0."
            )
        events = rows.floats(self.event, mend="correct it, or set data.event")
        if (odd := ~np.isin(events, (0, 1))).any():
            raise DataError(
                f"{rows.where}: the event {self.event!r} is {rows.value(self.event, odd)!r} in row "
                f"{rows.number_of(odd)}: write 1 for an event, 0 for censoring."
            )
        return np.stack([times, events], axis=1).astype(np.float32)

    def num_classes(self, y: Array) -> None:
        if not y[:, 1].astype(bool).any():
            raise DataError(f"The event {self.event!r} is 0 in all {len(y):,} rows: there is nothing to learn.")


def make_labels(
    *,
    label: str | None,
    classes: Sequence[Any] | None,
    label_range: Sequence[float] | None,
    time: str | None,
    event: str | None,
) -> Labels:
    """One of the above, by which keys are given.

    Raises:
        ConfigError: none of them, or keys that contradict each other.
    """
    if time is not None or event is not None:
        if time is None or event is None or label is not None:
            raise ConfigError("Survival data needs data.time and data.event, and no data.label.")
        return Survival(time=time, event=event)
    if label is None:
        raise ConfigError("data.label is not set: name the column to predict (or data.time and data.event).")
    if classes is not None and label_range is not None:
        raise ConfigError("Give data.classes for classes or data.label_range for numbers, not both.")
    if label_range is not None:
        return Numbers(column=label, label_range=range_of(label_range, key="data.label_range"))
    return Classes(column=label, vocabulary=None if classes is None else Vocabulary(classes, key="data.classes"))
