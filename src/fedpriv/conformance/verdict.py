"""What a property says of a subject: the rows of the table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

Verdict = Literal["holds", "fails", "not_applicable"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        evidence: what was measured beside what was claimed, in words.
    """

    property: str
    verdict: Verdict
    evidence: str


@dataclass(frozen=True)
class Finding:
    """A verdict without the name of its property."""

    verdict: Verdict
    evidence: str


def judged(holds: bool, evidence: str) -> Finding:
    return Finding("holds" if holds else "fails", evidence)


def not_applicable(why: str) -> Finding:
    return Finding("not_applicable", why)
