"""One column of a table as numbers or as codes of a public vocabulary."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt

from fedpriv.data.dataset import IntArray
from fedpriv.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pyarrow as pa

MISSING = -1
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


class Vocabulary:
    """Values in a public order; each has its place as a code.

    A text of the config stands for exactly that text in the file, a number for every way to write it (1, 1.0, 01).
    An item that is a list holds several ways to say the same.

    Args:
        values: texts, numbers, or lists of them.
        key: the config key, for messages.

    Raises:
        ConfigError: none, true, false or null (which YAML makes of unquoted words), or a value given twice.
    """

    def __init__(self, values: Any, *, key: str) -> None:
        if not isinstance(values, Sequence) or isinstance(values, str) or not values:
            raise ConfigError(f"{key} must be a list of values, such as [a, b].")
        self.items = tuple(tuple(item) if isinstance(item, list | tuple) else (item,) for item in values)
        self._code: dict[str | float, int] = {}
        for code, item in enumerate(self.items):
            for value in item:
                if value is None or isinstance(value, bool) or not isinstance(value, str | int | float):
                    raise ConfigError(f"{key} holds {_yaml(value)}: quote it as the file writes it, e.g. \"yes\".")
                known = value.strip() if isinstance(value, str) else float(value)
                if known in self._code:
                    raise ConfigError(f"{key} has {value!r} twice: give every value once.")
                self._code[known] = code

    def __len__(self) -> int:
        return len(self.items)

    def code(self, value: str | float) -> int | None:
        """The place of a value as found in a file; None where it is not in the vocabulary."""
        if (found := self._code.get(value if isinstance(value, str) else str(value))) is not None:
            return found
        if isinstance(value, str):
            return self._code.get(float(value)) if _NUMBER.fullmatch(value) else None
        return self._code.get(float(value))


@dataclass(frozen=True, eq=False, kw_only=True)
class Rows:
    """Rows of one file that are in use.

    Args:
        where: the file, for messages.
        columns: each of one entry per row; null where missing.
        numbers: of each row, for messages; the first below the header is 1.
    """

    where: str
    columns: "Mapping[str, pa.Array]"
    numbers: IntArray

    def __len__(self) -> int:
        return len(self.numbers)

    def keep(self, kept: npt.NDArray[np.bool_]) -> "Rows":
        """The rows that ``kept``, bool (n,), marks."""
        import pyarrow as pa

        mask = pa.array(kept)
        columns = {name: column.filter(mask) for name, column in self.columns.items()}
        return Rows(where=self.where, columns=columns, numbers=self.numbers[kept])

    def missing(self, column: str) -> npt.NDArray[np.bool_]:
        """Where the column has no value, bool (n,)."""
        found: npt.NDArray[np.bool_] = self.columns[column].is_null().to_numpy(zero_copy_only=False)
        return found

    def number_of(self, at: npt.NDArray[np.bool_]) -> int:
        """Number of the first row marked."""
        return int(self.numbers[int(np.argmax(at))])

    def require(self, column: str, *, mend: str) -> None:
        """Raise DataError where a value is missing."""
        missing = self.missing(column)
        if missing.any():
            others = int(missing.sum()) - 1
            more = f" and {others:,} more" if others else ""
            raise DataError(
                f"{self.where}: the column {column!r} has no value in row {self.number_of(missing)}{more}: {mend}."
            )

    def floats(self, column: str, *, mend: str) -> npt.NDArray[np.float64]:
        """The column as float64 (n,), NaN where missing.

        Raises:
            DataError: a text that is no number, or an infinite number; ``mend`` says what to do.
        """
        import pyarrow as pa

        array = self.columns[column]
        try:
            cast = array.cast(pa.float64(), safe=pa.types.is_string(array.type))  # a large integer may be rounded
            numbers: npt.NDArray[np.float64] = cast.to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:
            numbers = self._floats_one_by_one(column, mend)
        wrong = ~np.isfinite(numbers) & ~self.missing(column)
        if wrong.any():
            self._no_number(column, wrong, mend)
        return numbers

    def codes(self, column: str, vocabulary: Vocabulary) -> IntArray:
        """Codes (n,): ``MISSING`` where there is no value, ``len(vocabulary)`` for a value that it lacks."""
        return codes_of(self.columns[column], vocabulary)

    def value(self, column: str, at: npt.NDArray[np.bool_]) -> Any:
        """The first value marked."""
        return self.columns[column][int(np.argmax(at))].as_py()

    def _floats_one_by_one(self, column: str, mend: str) -> npt.NDArray[np.float64]:
        """Numbers that pyarrow does not read, such as +1."""
        encoded = self.columns[column].dictionary_encode()
        values = encoded.dictionary.to_pylist()
        table = np.array([float(v) if _NUMBER.fullmatch(v) else np.inf for v in values] + [np.nan])
        numbers: npt.NDArray[np.float64] = table[encoded.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)]
        return numbers

    def _no_number(self, column: str, wrong: npt.NDArray[np.bool_], mend: str) -> NoReturn:
        raise DataError(
            f"{self.where}: the column {column!r} has {self.value(column, wrong)!r} in row {self.number_of(wrong)}, "
            f"which is no number: {mend}."
        )


def codes_of(column: "pa.Array", vocabulary: Vocabulary) -> IntArray:
    """Codes (n,): ``MISSING`` where there is no value, ``len(vocabulary)`` for a value that it lacks."""
    encoded = column.dictionary_encode()
    known = [vocabulary.code(value) for value in encoded.dictionary.to_pylist()]
    table = np.array([len(vocabulary) if code is None else code for code in known] + [MISSING], np.int64)
    codes: IntArray = table[encoded.indices.fill_null(len(known)).to_numpy(zero_copy_only=False)]
    return codes


def codes_of_ids(column: "pa.Array") -> IntArray:
    """Texts without a null as 0, 1, ... in their order."""
    encoded = column.dictionary_encode()
    values = encoded.dictionary.to_pylist()
    rank = np.empty(len(values), np.int64)
    rank[sorted(range(len(values)), key=values.__getitem__)] = np.arange(len(values))
    codes: IntArray = rank[encoded.indices.to_numpy(zero_copy_only=False)]
    return codes


def _yaml(value: Any) -> str:
    return {"True": "true", "False": "false", "None": "null"}.get(str(value), repr(value))
