"""How a CSV file is written: guessed from its first lines."""

import csv
import io
from pathlib import Path

from fedpriv.data.sources.table_file import DELIMITERS, TableFormat, unzipped

MISSING = ("?", "-", "NA", "N/A", "NaN", "nan", "NULL", "null", "None")
_LINES = 30
_BYTES = 1 << 20


def guess_format(file: Path) -> TableFormat:
    """Encoding, delimiter, comments, and made-up names (c1, c2, ...) where the first line looks like data."""
    content = unzipped(file)
    encoding = _encoding(content)
    head = _head(content, encoding)
    comment = "#" if head and head[0].startswith("#") else None
    head = [line for line in head if not (comment and line.startswith(comment))]
    delimiter = max(DELIMITERS, key=lambda delimiter: _columns(head, delimiter))
    first, *below = _rows(head, delimiter) or [[]]
    columns = None if _is_header(first, below) else [f"c{i}" for i in range(1, len(first) + 1)]
    return TableFormat(columns=columns, delimiter=delimiter, encoding=encoding, comment=comment, missing=())


def agreed_columns(file: Path) -> int:
    """The most columns that the first lines agree on; 1 for plain text."""
    content = unzipped(file)
    head = _head(content, _encoding(content))
    return max(_columns(head, delimiter) for delimiter in DELIMITERS)


def _head(content: bytes, encoding: str) -> list[str]:
    """The first lines that are not empty."""
    text = content[:_BYTES].decode(encoding, errors="replace").removeprefix("\ufeff")
    lines = text.split("\n")[: None if len(content) <= _BYTES else -1]
    return [line for line in lines if line.strip()][:_LINES]


def _encoding(content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def _columns(head: list[str], delimiter: str) -> int:
    """Columns that the lines agree on, to within one; else 1."""
    counts = [len(row) for row in _rows(head, delimiter)]
    return min(counts, default=1) if max(counts, default=0) - min(counts, default=0) <= 1 else 1


def _rows(head: list[str], delimiter: str) -> list[list[str]]:
    try:
        rows = list(csv.reader(io.StringIO("\n".join(head), newline=""), delimiter=delimiter))
    except csv.Error:
        return []
    return [[cell.strip() for cell in row] for row in rows if row]


def _is_header(first: list[str], below: list[list[str]]) -> bool:
    """Texts that all differ, or a text above a column of numbers: then names may repeat, which the reader refuses."""
    if all(first) and len(set(first)) == len(first) and not any(map(_is_number, first)):
        return True
    columns = [[row[i] for row in below if i < len(row) and row[i] not in ("", *MISSING)] for i in range(len(first))]
    texts = [
        cells for name, cells in zip(first, columns, strict=True) if not _is_number(name) and name not in ("", *MISSING)
    ]
    return any(cells and all(map(_is_number, cells)) for cells in texts)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
