"""Laplace noise on every coordinate of what one unit sends: pure differential privacy, composed by its PLD."""

import math
from collections.abc import Hashable
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, final

import numpy as np

from fedpriv.errors import ConfigError

from .release import OwnRelease, Relation, Sampling

if TYPE_CHECKING:
    from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution

_FINE, _POINTS = 1000, 200_000  # grid points of one report, and of all together
_ROUNDING = 1e-12  # more than convolutions round off any tail; delta pays for it
_ORDERS = np.array([1.25, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512])


@final
@dataclass(frozen=True, order=True, kw_only=True)
class LaplaceReport(OwnRelease):
    """A vector clipped in L1 norm, with Laplace noise on every coordinate.

    Args:
        noise_multiplier: standard deviation of one coordinate's noise (sqrt 2 times its scale) / L1 clipping norm.
    """

    noise_multiplier: float
    sampling: Sampling = "all"
    rate: float = 1.0
    population: int = 0
    cohort: int = 0

    def __post_init__(self) -> None:
        if not self.noise_multiplier >= 0:
            raise ConfigError(f"noise multiplier {self.noise_multiplier} must be at least 0")
        if self.sampling != "all" or self.rate != 1:
            raise ConfigError("Laplace reports are accounted without sampling: whoever sees them sees whose they are")

    @property
    def shape(self) -> Hashable:
        return "laplace"

    @classmethod
    def loss(cls, composition: "tuple[tuple[LaplaceReport, int], ...]", relation: Relation) -> "LaplaceLoss":
        return LaplaceLoss(
            tuple((math.sqrt(2) * r.sensitivity(relation) / r.noise_multiplier, times) for r, times in composition)
        )


@final
@dataclass(frozen=True)
class LaplaceLoss:
    """Of reports, each pure epsilon_0-DP.

    Vectors at L1 distance s, with noise on every coordinate, are told apart no better than two numbers at distance s
    (docs/mechanisms/local_laplace.md has the proof): accounted so, by dp-accounting's PLD of the one-dimensional
    mechanism, and capped by the sum of the pure epsilons.

    Args:
        parts: epsilon_0 of a report, and how many there were.
    """

    parts: tuple[tuple[float, int], ...]

    @property
    def method(self) -> str:
        return f"PLD of the Laplace mechanism (dp-accounting {version('dp-accounting')}), at most pure epsilons added"

    @property
    def pure(self) -> float:
        """Epsilon at delta 0."""
        return sum(epsilon * times for epsilon, times in self.parts)

    def epsilon(self, delta: float) -> float:
        composed, bound = self._composed(), self.fast_epsilon(delta)
        return bound if composed is None else min(bound, float(composed.get_epsilon_for_delta(delta - _ROUNDING)))

    def fast_epsilon(self, delta: float) -> float:
        from dp_accounting.rdp import compute_epsilon

        total = sum((times * _renyi(epsilon) for epsilon, times in self.parts), np.zeros(len(_ORDERS)))
        return float(min(self.pure, compute_epsilon(_ORDERS, total, delta)[0]))

    def deltas(self, epsilons: Any) -> Any:
        composed = self._composed()
        if composed is None:
            return np.where(epsilons >= self.pure, 0.0, 1.0)
        found = np.minimum(1.0, composed.get_delta_for_epsilon(epsilons) + _ROUNDING)
        return np.where(epsilons >= self.pure, 0.0, found)

    def _composed(self) -> "PrivacyLossDistribution | None":
        """On a grid that connects the dots from above; None where the pure epsilon is so large that it says nothing."""
        from dp_accounting.pld import privacy_loss_distribution as pld

        least = min(epsilon for epsilon, _ in self.parts)
        interval = max(least / _FINE, self.pure / _POINTS)
        if interval > least:
            return None
        distributions = [
            pld.from_laplace_mechanism(1 / epsilon, value_discretization_interval=interval).self_compose(times)
            for epsilon, times in self.parts
        ]
        composed = distributions[0]
        for other in distributions[1:]:
            composed = composed.compose(other)
        return composed


def _renyi(epsilon: float) -> Any:
    """RDP of one report at ``_ORDERS``: Mironov 2017 (arXiv 1702.07476), Proposition 6."""
    alpha = _ORDERS
    above = np.log(alpha / (2 * alpha - 1)) + (alpha - 1) * epsilon
    below = np.log((alpha - 1) / (2 * alpha - 1)) - alpha * epsilon
    return np.minimum(np.logaddexp(above, below) / (alpha - 1), epsilon)
