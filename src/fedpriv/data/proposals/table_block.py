"""Writes the block for ``data=table``: ranges, vocabularies and constants as the table has them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fedpriv.data.proposals.column import Column
from fedpriv.data.proposals.yaml_text import flow, mapping, number, scalar, writable
from fedpriv.data.sources.table_file import TableFormat

MOST_VALUES = 50  # a vocabulary keeps so many, the most frequent
_LEFT_OUT = {
    "empty": "it has no value",
    "constant": "it has one value",
    "date": "a date is no feature as it is",
    "id": "all its values differ, as ids do",
}


@dataclass(frozen=True, eq=False, kw_only=True)
class Findings:
    """What was found in a table.

    Args:
        form: None for Parquet.
        missing: texts that mean a missing value.
        user: name of the column of users, or None.
    """

    path: Path
    form: TableFormat | None
    missing: Sequence[str]
    columns: Sequence[Column]
    label: Column
    user: str | None


@dataclass(frozen=True, kw_only=True)
class Use:
    """What a column is for, as told to people."""

    kind: Literal["label", "user", "numeric", "categorical", "left out"]
    detail: str

    @property
    def told(self) -> str:
        return f"{self.kind}: {self.detail}" if self.detail else self.kind


def use_of(column: Column, findings: Findings) -> Use:
    """Decide on a column."""
    if column.name == findings.label.name:
        return Use(kind="label", detail="")
    if column.name == findings.user:
        return Use(kind="user", detail="")
    if column.kind in _LEFT_OUT:
        return Use(kind="left out", detail=_LEFT_OUT[column.kind])
    if not writable(column.name):
        return Use(kind="left out", detail="a config cannot hold its name")
    if column.kind in ("number", "flag"):
        return Use(kind="numeric", detail="")
    kept = len(_vocabulary(column))
    return Use(kind="categorical", detail=f"the {kept} most frequent values" if kept < column.distinct else "")


def block(findings: Findings) -> str:
    """The keys, as YAML."""
    use = {column.name: use_of(column, findings) for column in findings.columns}
    numeric = [column for column in findings.columns if use[column.name].kind == "numeric"]
    categorical = [column for column in findings.columns if use[column.name].kind == "categorical"]
    needed = [c.name for c in findings.columns if c.missing and use[c.name].kind in ("label", "user")]
    lines = [
        f"path: {scalar(str(findings.path))}",
        *_format_keys(findings.form),
        f"missing: {flow(findings.missing)}",
        f"label: {scalar(findings.label.name)}",
        _target(findings.label),
        f"user: {scalar(findings.user)}",
        f"drop_missing: {flow(needed)}",
        f"numeric:{mapping({c.name: flow([number(c.low), number(c.high)]) for c in numeric})}",
        f"categorical:{mapping({c.name: _values(c) for c in categorical})}",
        f"impute:{mapping({c.name: scalar(number(_usual(c))) for c in numeric if c.missing})}",
        *(f"# left out: {scalar(name)}, as {u.detail}" for name, u in use.items() if u.kind == "left out"),
    ]
    return "\n".join(lines) + "\n"


def _format_keys(form: TableFormat | None) -> list[str]:
    if form is None:
        return []
    names = [] if form.columns is None else [f"columns: {flow(form.columns)}"]
    return [*names, *(f"{key}: {scalar(getattr(form, key))}" for key in ("delimiter", "encoding", "comment"))]


def _target(label: Column) -> str:
    if label.kind == "number":
        return f"label_range: {flow([number(label.low), number(label.high)])}"
    if label.is_numeric:
        return f"classes: {flow(number(float(value)) for value in label.values)}"
    return f"classes: {flow(sorted(map(str, label.values)))}"


def _vocabulary(column: Column) -> list[str | int | float]:
    values = [value if isinstance(value, str) else number(value) for value in column.values]
    return [value for value in values if not isinstance(value, str) or writable(value)][:MOST_VALUES]


def _values(column: Column) -> str:
    kept = _vocabulary(column)
    rest = column.distinct - len(kept)
    return flow(kept) + (f"  # and {rest} more, which count as other" if rest else "")


def _usual(column: Column) -> float:
    """What stands for a missing number: the median, of two values the smaller one."""
    return column.low if column.kind == "flag" else column.middle
