"""Describes a table, column by column, for ``data=table``."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fedpriv.data.proposals import names
from fedpriv.data.proposals.column import CODES_REPEAT, MOST_CODES, Column, look_at
from fedpriv.data.proposals.csv_format import MISSING, agreed_columns, guess_format
from fedpriv.data.proposals.labels import NOTHING_TO_LEARN
from fedpriv.data.proposals.proposal import Proposal
from fedpriv.data.proposals.table_block import Findings, block, use_of
from fedpriv.data.proposals.yaml_text import number, scalar, writable
from fedpriv.data.sources.table_columns import Rows
from fedpriv.data.sources.table_file import Table, TableFormat
from fedpriv.errors import DataError

MOST_CLASSES = 100
_SUFFIXES = {".csv", ".tsv", ".tab", ".data"}
_PARQUET = b"PAR1"


def recognises(path: Path) -> bool:
    """A Parquet file, or a text that is cut into columns, as its suffix or its first lines say."""
    if not path.is_file():
        return False
    if _is_parquet(path) or {suffix.lower() for suffix in path.suffixes} & _SUFFIXES:
        return True
    return path.suffix.lower() == ".txt" and agreed_columns(path) > 1


def propose(path: Path, *, label: str | None, user: str | None) -> Proposal:
    """Read the whole table and judge every column."""
    plain = TableFormat(columns=None, delimiter=",", encoding="utf-8", comment=None, missing=())
    form = None if _is_parquet(path) else guess_format(path)
    table = Table(file=path, form=form or plain)
    for name, key in ((label, "--label"), (user, "--user")):
        if name is not None and name not in table.names:
            raise table.column_error(name, key=key)
    rows, missing = _read(table)
    columns = [look_at(rows, name) for name in table.names]
    findings = Findings(
        path=path,
        form=form,
        missing=missing,
        columns=columns,
        label=_label(columns, label=label, user=user, file=path),
        user=user,
    )
    _check_features(findings)
    return Proposal(
        facts=[
            ("table", f"{path} ({'Parquet' if form is None else 'CSV'})"),
            ("rows", f"{len(rows):,}"),
            ("columns", f"{len(columns):,}"),
        ],
        header=("column", "kind", "missing", "distinct", "values", "proposed use"),
        rows=[
            (c.name, c.kind, f"{c.missing:,}", f"{c.distinct:,}", _shown(c), use_of(c, findings).told) for c in columns
        ],
        notes=_notes(findings, len(rows), label_given=label is not None),
        source="table",
        keys=block(findings),
        fitted=True,
        model="logistic",
        natural=user is not None,
    )


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == _PARQUET


def _read(table: Table) -> tuple[Rows, list[str]]:
    """The rows, with the usual texts for missing values made null, and which of those texts occur."""
    import pyarrow as pa
    import pyarrow.compute as pc

    read = table.read(table.names)
    texts, found = pa.array(MISSING, pa.string()), set()
    for name, column in read.items():
        if pa.types.is_string(column.type):
            marked = pc.is_in(column, value_set=texts)
            found |= set(column.filter(marked).unique().to_pylist())
            read[name] = pc.if_else(marked, pa.scalar(None, pa.string()), column)
    count = len(next(iter(read.values())))
    return Rows(where=str(table.file), columns=read, numbers=np.arange(count) + 1), sorted(found)


def _label(columns: Sequence[Column], *, label: str | None, user: str | None, file: Path) -> Column:
    """The column asked for; else the last one of a usual name, else the last one that may be a label."""
    if label is not None:
        chosen = next(column for column in columns if column.name == label)
        if chosen.kind == "constant":
            raise DataError(
                f"{file}: the column {label!r} cannot be the label: it has one value only ({_shown(chosen)}), and "
                f"{NOTHING_TO_LEARN}. Choose another."
            )
        if not _may_be_label(chosen):
            raise DataError(
                f"{file}: the column {label!r} cannot be the label: its kind is {chosen.kind}, of {chosen.distinct:,} "
                f"distinct values. Choose numbers, or a column of 2 to {MOST_CLASSES} classes."
            )
        return chosen
    able = [column for column in columns if _may_be_label(column) and column.name != user]
    named = [column for column in able if names.LABEL.fullmatch(column.name)]
    if not able:
        raise DataError(
            f"{file} has no column that could be a label: give one that holds numbers, or 2 to {MOST_CLASSES} classes."
        )
    return (named or able)[-1]


def _check_features(findings: Findings) -> None:
    """Raise DataError where no column is left to learn from."""
    uses = [(column.name, use_of(column, findings)) for column in findings.columns]
    if not any(use.kind in ("numeric", "categorical") for _, use in uses):
        reasons = "; ".join(f"{name!r} is left out: {use.detail}" for name, use in uses if use.kind == "left out")
        raise DataError(
            f"{findings.path} has no column that could tell the label {findings.label.name!r}"
            f"{f' ({reasons})' if reasons else ''}: {NOTHING_TO_LEARN}. Give a table with features, or another --label."
        )


def _may_be_label(column: Column) -> bool:
    if not writable(column.name):
        return False
    if column.is_numeric:
        return column.kind in ("flag", "codes", "number")
    return column.kind == "category" and column.distinct <= MOST_CLASSES and all(map(writable, map(str, column.values)))


def _notes(findings: Findings, count: int, *, label_given: bool) -> list[str]:
    form, notes = findings.form, []
    if not label_given:
        notes.append(f"The label is a guess: {findings.label.name!r}. Choose another by --label COLUMN.")
        notes += [
            f"{column.name!r} is no label, though its name says so: it has one value, and {NOTHING_TO_LEARN}."
            for column in findings.columns
            if column.kind == "constant" and names.LABEL.fullmatch(column.name)
        ]
    if form is not None and form.columns is not None:
        notes.append("The first line looks like data, so the columns have made-up names: write real ones in `columns`.")
    if form is not None and form.encoding != "utf-8":
        notes.append(f"The file is not UTF-8 and was read as {form.encoding}: see whether its letters are right.")
    if findings.missing:
        notes.append(f"Taken as missing: empty values and {', '.join(map(repr, findings.missing))}.")
    notes.append(
        f"Whole numbers are taken as categories where there are 3 to {MOST_CODES} distinct ones, with {CODES_REPEAT} "
        "rows to each on average; others as numbers."
    )
    users = [c for c in findings.columns if names.USER.fullmatch(c.name) and 1 < c.distinct < count / 2]
    if findings.user is None:
        notes += [f"{column.name!r} may say who made a row: --user {scalar(column.name)}." for column in users]
    return notes


def _shown(column: Column) -> str:
    if column.kind == "number":
        return f"{number(column.low)} ... {number(column.high)}"
    some = [str(value if isinstance(value, str) else number(value))[:20] for value in column.values[:4]]
    return ", ".join(some) + ", ..." * (column.distinct > 4)
