"""Tables in files: CSV (plain or gzipped) and Parquet, as columns of pyarrow in which null means missing."""

import codecs
import csv
import difflib
import gzip
import io
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fedpriv.data.sources.files import read_bytes
from fedpriv.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pyarrow as pa

DELIMITERS = (",", ";", "\t", "|")
_TAB = ("tab", "\\t")
_HEAD = 1 << 20  # bytes in which the first line must end
_BLOCK = 1 << 24  # bytes that pyarrow parses together: no row may be longer
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, kw_only=True)
class TableFormat:
    """How a CSV file is written; Parquet files need ``missing`` only.

    Args:
        columns: names of the columns of a file without a header line; None: the first line has them.
        delimiter: one character, or ``tab``.
        encoding: a codec of Python; a byte order mark is skipped.
        comment: lines that start so are skipped; None: no line is.
        missing: texts that mean a missing value, as an empty one always does.

    Raises:
        ConfigError: an unusable delimiter or encoding, or names that are not unique.
    """

    columns: Sequence[str] | None
    delimiter: str
    encoding: str
    comment: str | None
    missing: Sequence[str]

    def __post_init__(self) -> None:
        if self.delimiter in _TAB:
            object.__setattr__(self, "delimiter", "\t")
        if len(self.delimiter) != 1 or self.delimiter in '"\r\n':
            raise ConfigError(f"data.delimiter={self.delimiter!r} must be one character, or tab.")
        try:
            codecs.lookup(self.encoding)
        except LookupError as error:
            raise ConfigError(
                f"data.encoding={self.encoding} is unknown; use utf-8, latin-1, utf-16 or another codec of Python."
            ) from error
        if self.columns is not None:
            object.__setattr__(self, "columns", [str(name) for name in self.columns])
            if (twice := _first_repeated(self.columns)) is not None:
                raise ConfigError(f"data.columns names {twice!r} twice: give each column a name of its own.")


class Table:
    """An open file: the names of its columns, and the columns themselves when asked for.

    Attributes:
        file: where it lies.
        form: how it is written.
        names: of all columns, in the file's order.

    Raises:
        DataError: a file that is empty, of another kind or encoding, or whose names are not unique.
    """

    def __init__(self, *, file: Path, form: TableFormat) -> None:
        self.file = file
        self.form = form
        content = unzipped(file)
        if not content.strip():
            raise DataError(f"{file} is empty: give a file with a header and rows.")
        self._parquet = content.startswith(b"PAR1")
        if self._parquet:
            self._content = content
            self.names = self._parquet_names()
        else:
            self._content, self._skipped = self._as_utf8(content)
            self.names = self._csv_names()
        if (twice := _first_repeated(self.names)) is not None:
            header = "" if self._parquet else ", or name them all in data.columns if the first line is no header"
            raise DataError(f"{file} has two columns named {twice!r}: rename one{header}.")

    def column_error(self, column: str, *, key: str) -> DataError:
        """What to say of a column that the file lacks."""
        near = difflib.get_close_matches(column.casefold(), [n.casefold() for n in self.names], n=1, cutoff=0.6)
        meant = next((f" Did you mean {name!r}?" for name in self.names if [name.casefold()] == near), "")
        shown = ", ".join(map(repr, self.names[:12])) + ", ..." * (len(self.names) > 12)
        return DataError(f"{self.file} has no column {column!r} ({key}).{meant} It has: {shown}.")

    def read(self, columns: Iterable[str]) -> "dict[str, pa.Array]":
        """These columns, each of the file's length: texts without spaces around them, or numbers.

        Raises:
            DataError: no rows, rows of unequal length (with the line), or a column of lists.
        """
        wanted = list(dict.fromkeys(columns))
        read = self._read_parquet(wanted) if self._parquet else self._read_csv(wanted)
        columns_read = {name: self._normal(name, read.column(name)) for name in wanted}
        if read.num_rows == 0:
            raise DataError(f"{self.file} has a header but no rows: give a file with data.")
        return columns_read

    # -- CSV -----------------------------------------------------------------------------------------------

    def _as_utf8(self, content: bytes) -> tuple[bytes, int]:
        """The text in UTF-8 without comments and leading empty lines, and how many lines were left away in front."""
        if content.startswith(b"PK\x03\x04"):
            raise DataError(f"{self.file} is a zip or Excel file: save it as CSV or Parquet.")
        encoding = self.form.encoding
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            other = "utf-16" if content.startswith(_UTF16) else "latin-1" if encoding != "latin-1" else "utf-8"
            raise DataError(
                f"{self.file} is not {encoding} (line {line} has the byte 0x{content[error.start]:02x}): "
                f"set data.encoding={other}, or what the file was written in."
            ) from error
        except UnicodeError as error:  # UTF-16 without its mark
            raise DataError(f"{self.file} is not {encoding} ({error}): set data.encoding.") from error
        if "\0" in text:
            raise DataError(
                f"{self.file} has NUL characters in {encoding}: it is no CSV file, or data.encoding=utf-16 is right."
            )
        text = text.removeprefix("\ufeff")
        if self.form.comment:
            text = re.sub(rf"(?m)^{re.escape(self.form.comment)}.*$", "", text)
        stripped = text.lstrip("\r\n")
        if not stripped:
            raise DataError(f"{self.file} has comments only (data.comment={self.form.comment}): give one with rows.")
        return stripped.encode(), text.count("\n", 0, len(text) - len(stripped))

    def _csv_names(self) -> tuple[str, ...]:
        head = self._content[:_HEAD].decode(errors="ignore")
        try:
            first = next(csv.reader(io.StringIO(head, newline=""), delimiter=self.form.delimiter))
        except csv.Error as error:
            raise DataError(f"{self.file}, line {self._skipped + 1}: {error}. Is it a CSV file?") from error
        if len(first) == 1:
            others = [d for d in DELIMITERS if d in first[0]]
            mend = f"data.delimiter={_shown(max(others, key=first[0].count))}" if others else "data.delimiter"
            raise DataError(
                f"{self.file} has one column when it is cut at {_shown(self.form.delimiter)}; its first line is "
                f"{first[0][:60]!r}: set {mend}."
            )
        if self.form.columns is None:
            return tuple(name.strip() for name in first)
        if len(first) != len(self.form.columns):
            raise DataError(
                f"{self.file}, line {self._skipped + 1} has {len(first)} values, but data.columns names "
                f"{len(self.form.columns)}: name every column."
            )
        return tuple(self.form.columns)

    def _read_csv(self, wanted: Sequence[str]) -> "pa.Table":
        import pyarrow as pa
        import pyarrow.csv as pacsv

        try:
            return pacsv.read_csv(
                pa.BufferReader(self._content),
                read_options=pacsv.ReadOptions(
                    column_names=[f"c{i}" for i in range(len(self.names))], block_size=_BLOCK
                ),
                parse_options=pacsv.ParseOptions(delimiter=self.form.delimiter, newlines_in_values=True),
                convert_options=pacsv.ConvertOptions(
                    include_columns=[f"c{self.names.index(name)}" for name in wanted],
                    column_types={f"c{i}": pa.string() for i in range(len(self.names))},
                    strings_can_be_null=False,
                ),
            ).slice(0 if self.form.columns else 1).rename_columns(wanted)
        except pa.ArrowInvalid as error:
            raise self._ragged() or DataError(f"{self.file} is not a readable CSV file: {error}.") from error

    def _ragged(self) -> DataError | None:
        reader = csv.reader(io.StringIO(self._content.decode(), newline=""), delimiter=self.form.delimiter)
        try:
            for row in reader:
                if row and len(row) != len(self.names):
                    return DataError(
                        f"{self.file}, line {self._skipped + reader.line_num} has {len(row)} values, but there are "
                        f"{len(self.names)} columns: mend the line (quote values that hold "
                        f"{_shown(self.form.delimiter)}), or skip it by data.comment."
                    )
        except csv.Error as error:
            return DataError(f"{self.file}, line {self._skipped + reader.line_num}: {error}. Is a quote not closed?")
        return None

    # -- Parquet -------------------------------------------------------------------------------------------

    def _parquet_names(self) -> tuple[str, ...]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return tuple(pq.read_schema(pa.BufferReader(self._content)).names)
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(error) from error

    def _read_parquet(self, wanted: Sequence[str]) -> "pa.Table":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return pq.ParquetFile(pa.BufferReader(self._content)).read(columns=list(wanted))
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> DataError:
        return DataError(f"{self.file} is a damaged Parquet file ({error}): write it again.")

    # -- both ----------------------------------------------------------------------------------------------

    def _normal(self, name: str, chunks: "pa.ChunkedArray") -> "pa.Array":
        """Texts, stripped, or numbers; null where missing."""
        import pyarrow as pa
        import pyarrow.compute as pc

        kind = chunks.type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
            chunks = chunks.cast(kind)
        if pa.types.is_nested(kind) or pa.types.is_binary(kind):
            raise DataError(f"{self.file}: the column {name!r} holds {kind}: store texts or numbers.")
        if pa.types.is_decimal(kind):
            chunks = chunks.cast(pa.float64())
        elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            try:
                chunks = pc.utf8_trim_whitespace(chunks.cast(pa.string()))
            except pa.ArrowNotImplementedError as error:
                raise DataError(f"{self.file}: the column {name!r} holds {kind}: store texts or numbers.") from error
            missing = pc.is_in(chunks, value_set=pa.array(["", *map(str, self.form.missing)], pa.string()))
            chunks = pc.if_else(missing, pa.scalar(None, pa.string()), chunks)
        elif pa.types.is_floating(kind):
            chunks = chunks.cast(pa.float64())
            chunks = pc.if_else(pc.is_nan(chunks), pa.scalar(None, pa.float64()), chunks)
        return chunks.combine_chunks()


def unzipped(file: Path) -> bytes:
    """The content of a file, gzipped or not; DataError where it can't be read."""
    content = read_bytes(file)
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{file} is a damaged or truncated gzip file ({error}): fetch it again.") from error


def _first_repeated(names: Sequence[str]) -> str | None:
    return next((name for i, name in enumerate(names) if name in names[:i]), None)


def _shown(delimiter: str) -> str:
    return "tab" if delimiter == "\t" else f"'{delimiter}'"


def joined(
    main: "Mapping[str, pa.Array]", other: "Mapping[str, pa.Array]", *, on: str, file: Path
) -> "tuple[dict[str, pa.Array], npt.NDArray[np.bool_]]":
    """The columns of both for the rows of ``main`` whose value of ``on`` stands in ``other``; and which rows those are.

    Args:
        file: of ``other``, for messages.

    Raises:
        DataError: a value that stands in ``other`` twice, or none that stands in both.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    keys = other[on].cast(pa.string()).drop_null()
    if len(keys) != len(other[on]) or len(pc.unique(keys)) != len(keys):
        raise DataError(f"{file}: the column {on!r} (data.join_on) has a value twice, or none: keep one row for each.")
    found = pc.index_in(main[on].cast(pa.string()), value_set=keys, skip_nulls=True)
    kept = pc.is_valid(found)
    if not pc.any(kept).as_py():
        raise DataError(f"{file}: no value of {on!r} (data.join_on) is in the table: check data.join and data.join_on.")
    partner = found.filter(kept)
    columns = {name: column.filter(kept) for name, column in main.items()}
    columns |= {name: column.take(partner) for name, column in other.items() if name != on}
    return columns, kept.to_numpy(zero_copy_only=False)
