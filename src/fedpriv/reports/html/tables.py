"""A table as the page, a spreadsheet and Markdown have it."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Link:
    """A cell that leads somewhere."""

    text: str
    href: str


Cell = str | Link


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of text; what is not known is an empty cell.

    Attributes:
        key: name of its file where it is exported.
        numbers: the columns that hold numbers.
    """

    key: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    numbers: frozenset[str]

    def csv(self) -> str:
        """Comma-separated, with a heading. A cell that a spreadsheet would take for a formula is quoted by a ``'``."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([[_inert(_text(cell)) for cell in row] for row in self.rows])
        return out.getvalue()

    def markdown(self) -> str:
        """A Markdown table, its caption above."""
        lines = [_escaped(self.caption), ""] if self.caption else []
        lines += [
            _row(self.columns),
            _row(["---:" if name in self.numbers else "---" for name in self.columns], raw=True),
        ]
        lines += [_row([_text(cell) for cell in row]) for row in self.rows]
        return "\n".join(lines) + "\n"


_NUMBER = r"[-+]?[\d.,]+(e[-+]?\d+)?"


def _text(cell: Cell) -> str:
    return cell.text if isinstance(cell, Link) else cell


def _inert(text: str) -> str:
    is_number = re.fullmatch(rf"{_NUMBER}( to {_NUMBER})?", text) is not None
    return f"'{text}" if text[:1] in "=+-@\t\r" and text and not is_number else text


def _row(cells: Sequence[str], *, raw: bool = False) -> str:
    return f"| {' | '.join(cells if raw else map(_escaped, cells))} |"


def _escaped(text: str) -> str:
    line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]|~#!])", r"\\\1", line)
