"""What an audit found, beside what the run claims."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, final

from fedpriv.accounting.claims import Unit
from fedpriv.accounting.curve import Curve
from fedpriv.accounting.guarantee import EVIDENCE

from .bounds import Guesses, contradicted, f_dp_epsilon, one_run_epsilon

Bound = Literal["one_run", "f_dp"]
Kind = Literal["client", "example", "gradient"]
UNITS: Mapping[str, Unit] = {"client": "client", "example": "example", "gradient": "example"}
"""Whom canaries of a kind stand for."""


@final
@dataclass(frozen=True, kw_only=True)
class Finding:
    """One audited run.

    Attributes:
        kind: of canaries.
        empirical_epsilon: the run is not (empirical_epsilon, delta)-DP, with ``confidence``; 0 says nothing.
        estimate: of epsilon, from the cosines (Andrew et al. 2023): no bound; None where there is none.
    """

    kind: Kind
    bound: Bound
    guesses: Guesses
    delta: float
    confidence: float
    empirical_epsilon: float
    estimate: float | None

    @staticmethod
    def of(
        guesses: Guesses, *, kind: Kind, bound: Bound, delta: float, confidence: float, estimate: float | None
    ) -> "Finding":
        return Finding(
            kind=kind,
            bound=bound,
            guesses=guesses,
            delta=delta,
            confidence=confidence,
            empirical_epsilon=lower_bound(guesses, bound=bound, delta=delta, confidence=confidence),
            estimate=estimate,
        )

    @staticmethod
    def from_json(logged: Mapping[str, Any]) -> "Finding":
        """From ``to_json``, the bound computed again from the guesses.

        Raises:
            KeyError, TypeError: something is missing, or of another kind.
        """
        known = {key: logged[key] for key in ("kind", "bound", "delta", "confidence", "estimate")}
        return Finding.of(Guesses(**logged["guesses"]), **known)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "guesses": asdict(self.guesses)}

    @property
    def told(self) -> dict[str, Any]:
        """For ``run.json``."""
        return {
            "empirical_epsilon": self.empirical_epsilon,
            "confidence": self.confidence,
            "canaries": self.guesses.canaries,
            "guesses": self.guesses.made,
            "right": self.guesses.right,
            "kind": self.kind,
            "bound": self.bound,
            "delta": self.delta,
            "estimate": self.estimate,
        }

    def evidence(self, unit: Unit | None) -> str:
        """What a guarantee of such units says of audits; None: of a run that protects nobody."""
        return self.in_words if unit is None or self.is_about(unit) else EVIDENCE

    def is_about(self, unit: str) -> bool:
        """Whether its canaries stand for such units."""
        return UNITS[self.kind] == unit

    def contradicts(self, epsilon: float, claimed: Curve) -> bool:
        """Whether a claim is ruled out: epsilon at ``delta``, or the points of its curve together.

        Each is tested with half of the doubt, so that both tests hold together.
        """
        doubtful = (1 + self.confidence) / 2
        own = lower_bound(self.guesses, bound=self.bound, delta=self.delta, confidence=doubtful)
        return own > epsilon or contradicted(self.guesses, curve=claimed.points, confidence=doubtful)

    @property
    def in_words(self) -> str:
        """For a guarantee's evidence."""
        told = (
            f"audited with {self.guesses.canaries} {self.kind} canaries ({self.bound}): "
            f"{self.guesses.right} of {self.guesses.made} guesses right, so epsilon >= {self.empirical_epsilon:.4g} at "
            f"delta {self.delta:.3g} with {self.confidence:.0%} confidence"
        )
        return told if self.estimate is None else f"{told}; estimated from cosines, no bound: {self.estimate:.4g}"


def lower_bound(guesses: Guesses, *, bound: Bound, delta: float, confidence: float) -> float:
    """By one theorem or the other; both hold for every mechanism."""
    judge = one_run_epsilon if bound == "one_run" else f_dp_epsilon
    return judge(guesses, delta=delta, confidence=confidence)
