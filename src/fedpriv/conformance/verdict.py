"""What was found out: a finding, a row of the table, the table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from .subject import Claim

Verdict = Literal["holds", "fails", "not_applicable"]


@dataclass(frozen=True)
class Finding:
    """What a property says of a subject.

    Attributes:
        evidence: what was measured beside what was claimed, in words.
    """

    verdict: Verdict
    evidence: str


def judged(holds: bool, evidence: str) -> Finding:
    return Finding("holds" if holds else "fails", evidence)


def not_applicable(why: str) -> Finding:
    return Finding("not_applicable", why)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table: a finding and the name of its property."""

    property: str
    verdict: Verdict
    evidence: str


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """All that was measured of one target.

    Attributes:
        target: as it was given.
        claim: what it says of itself, in the units of its release.
        rows: one a property, in the kit's order.
    """

    target: str
    claim: "Claim"
    rows: Sequence[Row]

    @property
    def failed(self) -> Sequence[Row]:
        return [row for row in self.rows if row.verdict == "fails"]

    @property
    def holds(self) -> bool:
        """Whether nothing fails."""
        return not self.failed

    def __getitem__(self, property_: str) -> Row:
        """The row of one property."""
        return next(row for row in self.rows if row.property == property_)

    def assert_holds(self, *, except_: Sequence[str] = ()) -> None:
        """For tests.

        Args:
            except_: properties that are known to fail.

        Raises:
            AssertionError: another property fails, with its evidence; or one of ``except_`` does not.
            ValueError: ``except_`` names no property.
        """
        failed = {row.property: row for row in self.failed}
        if unknown := sorted(set(except_) - {row.property for row in self.rows}):
            raise ValueError(f"except_ names no property of the kit: {', '.join(unknown)}.")
        if left := [row for name, row in failed.items() if name not in except_]:
            told = "\n".join(f"  {row.property}: {row.evidence}" for row in left)
            raise AssertionError(f"{self.target} does not do what it claims:\n{told}")
        if healed := sorted(set(except_) - set(failed)):
            raise AssertionError(f"{self.target}: except_ names {', '.join(healed)}, which no longer fails.")
