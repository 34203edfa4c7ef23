"""Features of a table as one float32 matrix, by public constants: nothing is fitted on the data."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from fedpriv.data.dataset import FloatArray
from fedpriv.data.sources.table_columns import MISSING, Rows, Vocabulary
from fedpriv.errors import ConfigError, DataError


class Feature(Protocol):
    """One column on its way into the matrix.

    Attributes:
        column: its name.
        width: how many features it becomes.
        imputed: whether a missing value is replaced by a constant of the config.
    """

    @property
    def column(self) -> str: ...

    @property
    def width(self) -> int: ...

    @property
    def imputed(self) -> bool: ...

    def encode(self, rows: Rows) -> FloatArray:
        """float32, (rows, width)."""
        ...


@dataclass(frozen=True, kw_only=True)
class Numeric:
    """A number, clipped to its public range and mapped to [-1, 1].

    Args:
        constant: stands for a missing value; None: a missing value is an error.
    """

    column: str
    low: float
    high: float
    constant: float | None
    width: int = 1

    @property
    def imputed(self) -> bool:
        return self.constant is not None

    def encode(self, rows: Rows) -> FloatArray:
        number = f"correct it, list the text in data.missing, or move {self.column!r} to data.categorical"
        values = rows.floats(self.column, mend=number)
        if self.constant is None:
            mend = f"give a constant in data.impute {{{self.column}: ...}}, or set data.drop_missing=true"
            rows.require(self.column, mend=mend)
        else:
            values = np.where(np.isnan(values), self.constant, values)
        scaled = (np.clip(values, self.low, self.high) - self.low) / (self.high - self.low) * 2 - 1
        return scaled[:, np.newaxis].astype(np.float32)


@dataclass(frozen=True, eq=False, kw_only=True)
class Categorical:
    """A 1 at the value's place in its public vocabulary; in the last place for another or no value.

    Args:
        constant: code that stands for a missing value; None: the last place.
    """

    column: str
    vocabulary: Vocabulary
    constant: int | None

    @property
    def width(self) -> int:
        return len(self.vocabulary) + 1

    @property
    def imputed(self) -> bool:
        return self.constant is not None

    def encode(self, rows: Rows) -> FloatArray:
        codes = rows.codes(self.column, self.vocabulary)
        other = len(self.vocabulary)
        unknown = codes == other
        if unknown.any() and not (codes < other)[codes != MISSING].any():
            raise DataError(
                f"{rows.where}: no value of the column {self.column!r} is in data.categorical (row "
                f"{rows.number_of(unknown)} has {rows.value(self.column, unknown)!r}): mend the list."
            )
        codes = np.where(codes == MISSING, other if self.constant is None else self.constant, codes)
        hot = np.zeros((len(rows), self.width), np.float32)
        hot[np.arange(len(rows)), codes] = 1
        return hot


def make_features(
    *, numeric: Mapping[Any, Any], categorical: Mapping[Any, Any], impute: Mapping[Any, Any]
) -> tuple[Feature, ...]:
    """Numeric columns, then categorical ones, in the config's order.

    Raises:
        ConfigError: none at all, a column given twice, or a range, vocabulary or constant that cannot be used.
    """
    constants = {str(column): value for column, value in impute.items()}
    features: list[Feature] = []
    for column, bounds in ((str(column), bounds) for column, bounds in numeric.items()):
        low, high = range_of(bounds, key=f"data.numeric {{{column}}}")
        constant = constants.get(column)
        if constant is not None and not _is_number(constant):
            raise ConfigError(f"data.impute {{{column}: {constant}}} must be a number, as the column is numeric.")
        features.append(Numeric(column=column, low=low, high=high, constant=constant))
    for column, values in ((str(column), values) for column, values in categorical.items()):
        vocabulary = Vocabulary(values, key=f"data.categorical {{{column}}}")
        constant = constants.get(column)
        code = None if constant is None else vocabulary.code(constant)
        if constant is not None and code is None:
            raise ConfigError(f"data.impute {{{column}: {constant}}} must be one of the values in data.categorical.")
        features.append(Categorical(column=column, vocabulary=vocabulary, constant=code))
    names = [feature.column for feature in features]
    if not names:
        raise ConfigError(
            "data.numeric and data.categorical are both empty: name the columns to learn from. "
            "`fedpriv data describe PATH` proposes them."
        )
    if twice := next((name for i, name in enumerate(names) if name in names[:i]), None):
        raise ConfigError(f"{twice!r} is in data.numeric and in data.categorical: choose one.")
    if stray := next((column for column in constants if column not in names), None):
        raise ConfigError(f"data.impute names {stray!r}, which is in neither data.numeric nor data.categorical.")
    return tuple(features)


def range_of(bounds: Any, *, key: str) -> tuple[float, float]:
    """A public range [low, high].

    Raises:
        ConfigError: not two finite numbers, the smaller one first.
    """
    pair = list(bounds) if isinstance(bounds, Sequence) and not isinstance(bounds, str) else []
    if len(pair) != 2 or not all(_is_number(bound) for bound in pair) or not pair[0] < pair[1]:
        raise ConfigError(f"{key} is {bounds}: give its public range as [lowest, highest].")
    return float(pair[0]), float(pair[1])


def encode(features: Sequence[Feature], rows: Rows) -> FloatArray:
    """The matrix, float32 (rows, sum of widths)."""
    matrix = np.empty((len(rows), sum(feature.width for feature in features)), np.float32)
    start = 0
    for feature in features:
        matrix[:, start : start + feature.width] = feature.encode(rows)
        start += feature.width
    return matrix


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
