"""The robust membership inference attack."""

from dataclasses import dataclass
from typing import final

import numpy as np

from fedpriv.errors import ConfigError

from ..observation import FloatArray, MembershipAttack, Needs, ShadowObservation
from .lira import check_shadows


@final
@dataclass(frozen=True, kw_only=True)
class Rmia(MembershipAttack):
    """Share of the population that the candidate dominates (Zarifzadeh et al. 2024, "Low-Cost High-Power Membership
    Inference Attacks", equations 2 to 4).

    A candidate x dominates z where (P(x | model) / P(x)) / (P(z | model) / P(z)) >= gamma; P(x) is the mean
    probability over reference models.

    Args:
        shadows: reference models; half of them train on each candidate. Even, at least 4.
        gamma: >= 1.
        offline_a: None: P(x) is the mean of the means with and without x. A number in [0, 1]: only references without
            x are used, and P(x) is ((1 + a) mean + 1 - a) / 2 (appendix B.2.2).
    """

    shadows: int
    gamma: float
    offline_a: float | None

    def __post_init__(self) -> None:
        check_shadows("rmia", self.shadows)
        if not self.gamma >= 1:
            raise ConfigError(f"attack.rmia.gamma={self.gamma} must be at least 1.")
        if self.offline_a is not None and not 0 <= self.offline_a <= 1:
            raise ConfigError(f"attack.rmia.offline_a={self.offline_a} must lie in [0, 1], or be null.")

    @property
    def needs(self) -> Needs:
        return Needs(level="example", sees="final_model", shadows=self.shadows, candidates=None)

    def scores(self, seen: ShadowObservation) -> FloatArray:
        ratios = self._ratios(seen)
        population = ratios
        if seen.population_losses is not None and seen.shadow_population_losses is not None:
            # no reference has trained on them
            mean = np.exp(-seen.shadow_population_losses).mean(axis=0)
            population = -seen.population_losses - np.log(np.maximum(self._offline(mean), _TINY))
        # z is dominated where log ratio(z) <= log ratio(x) - log(gamma): counted in one sorted pass
        dominated = np.searchsorted(np.sort(population), ratios - np.log(self.gamma), side="right")
        share: FloatArray = dominated / len(population)
        return share

    def _ratios(self, seen: ShadowObservation) -> FloatArray:
        """log(P(x | model) / P(x)) of each candidate."""
        probabilities, members = np.exp(-seen.shadow_losses), seen.shadow_members
        without = (probabilities * ~members).sum(axis=0) / (~members).sum(axis=0)
        if self.offline_a is None:
            with_it = (probabilities * members).sum(axis=0) / members.sum(axis=0)
            mean = (with_it + without) / 2
        else:
            mean = self._offline(without)
        ratios: FloatArray = -seen.losses - np.log(np.maximum(mean, _TINY))
        return ratios

    def _offline(self, mean: FloatArray) -> FloatArray:
        if self.offline_a is None:
            return mean
        return ((1 + self.offline_a) * mean + 1 - self.offline_a) / 2


_TINY = 1e-300
