"""What one column of a table holds."""

import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from fedpriv.data.sources.table_columns import Rows
from fedpriv.errors import DataError

Kind = Literal["empty", "constant", "flag", "codes", "number", "category", "date", "id"]

MOST_CODES = 10  # whole numbers of so few distinct values are categories
CODES_REPEAT = 5  # ... if there are so many rows to each
_FEW_ROWS = 20  # in fewer rows, all values distinct says little
_PADDED = re.compile(r"0\d+")
_DATE = re.compile(
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([ T]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?"
    r"|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}|\d{1,2}:\d{2}(:\d{2})?"
)
_ID_NAME = re.compile(r"(^|[\W_])(id|uuid|guid|index|key|nr|no)$|[a-z]I[dD]$|^Unnamed: 0$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Column:
    """Attributes:
    missing: rows without a value.
    values: distinct values, the most frequent first (by size where they are numbers).
    low, high, middle: range and median of numbers; NaN of others.
    """

    name: str
    kind: Kind
    missing: int
    values: tuple[str | int | float, ...]
    low: float
    high: float
    middle: float

    @property
    def distinct(self) -> int:
        return len(self.values)

    @property
    def is_numeric(self) -> bool:
        """Numbers, whatever they mean."""
        return not np.isnan(self.low)


def look_at(rows: Rows, name: str) -> Column:
    """Judge a column of ``rows``."""
    array = rows.columns[name]
    counts = array.drop_null().value_counts()
    found = sorted(
        zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True),
        key=lambda pair: (-pair[1], pair[0]),
    )
    values, missing = [value for value, _ in found], array.null_count
    numbers = _numbers(rows, name, values)
    if numbers is None:
        kind = _kind_of_texts([str(v) for v in values], present=len(rows) - missing)
        nan = float("nan")
        return Column(name=name, kind=kind, missing=missing, values=tuple(values), low=nan, high=nan, middle=nan)
    distinct = np.unique(numbers)
    if not len(distinct):
        return Column(name=name, kind="empty", missing=missing, values=(), low=np.nan, high=np.nan, middle=np.nan)
    return Column(
        name=name,
        kind=_kind_of_numbers(name, distinct, present=len(numbers)),
        missing=missing,
        values=tuple(distinct.tolist()),
        low=float(distinct[0]),
        high=float(distinct[-1]),
        middle=float(np.median(numbers)),
    )


def _numbers(rows: Rows, name: str, values: list[Any]) -> np.ndarray | None:  # type: ignore[type-arg]
    """Those that are not missing; None where some value is a text, or a code with leading zeros such as 01099."""
    if any(isinstance(value, str) and _PADDED.fullmatch(value) for value in values):
        return None
    try:
        numbers = rows.floats(name, mend="")
    except DataError:
        return None
    return numbers[~np.isnan(numbers)]


def _kind_of_texts(values: list[str], *, present: int) -> Kind:
    if len(values) == 1:
        return "constant"
    if all(_DATE.fullmatch(value) for value in values):
        return "date"
    if len(values) == present or (present >= _FEW_ROWS and len(values) > 0.9 * present):
        return "id"
    return "category"


def _kind_of_numbers(name: str, distinct: np.ndarray, *, present: int) -> Kind:  # type: ignore[type-arg]
    if len(distinct) == 1:
        return "constant"
    if len(distinct) == 2:
        return "flag"
    whole = bool((distinct == np.round(distinct)).all())
    if whole and len(distinct) == present >= _FEW_ROWS:
        consecutive = distinct[-1] - distinct[0] == present - 1
        if consecutive or _ID_NAME.search(name):
            return "id"
    if whole and len(distinct) <= MOST_CODES and present >= CODES_REPEAT * len(distinct):
        return "codes"
    return "number"
