"""One noisy sum over a sampled set, as an accountant sees it, and who may judge it.

Light on purpose: importing this module imports no accounting library.
"""

import math
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, final, get_args

from fedpriv.errors import ConfigError

from .release import Accountant, Composition, Relation, Release, Sampling

if TYPE_CHECKING:
    import dp_accounting

__all__ = ["COUNTED", "Accountant", "Composition", "Relation", "SampledGaussian", "Sampling", "check_accountable"]

COUNTED: tuple[Sampling, ...] = ("fixed_size", "capped_poisson")
"""Samplings whose price depends on the numbers of units, and not on the rate alone."""


@final
@dataclass(frozen=True, order=True, kw_only=True)
class SampledGaussian(Release):
    """One Gaussian release over a random sample.

    Args:
        noise_multiplier: noise standard deviation divided by the clipping norm, which is the L2 sensitivity
            under add-or-remove-one (and under zero-out); replace-one has twice that sensitivity.
        sampling: ``poisson`` (an own coin each), ``capped_poisson`` (then cut to ``cohort`` at random where more
            came), ``fixed_size`` (without replacement) or ``all``.
        rate: probability of each unit to take part (before any cap), in [0, 1]; 1 for ``all``.
        population: units sampled from; ``fixed_size`` and ``capped_poisson`` only, else 0.
        cohort: units sampled, or the cap; ``fixed_size`` and ``capped_poisson`` only, else 0.

    Raises:
        ConfigError: a value outside its range.
    """

    noise_multiplier: float
    sampling: Sampling
    rate: float
    population: int
    cohort: int

    def __post_init__(self) -> None:
        if not self.noise_multiplier >= 0:
            raise ConfigError(f"noise multiplier {self.noise_multiplier} must be at least 0")
        if not 0 <= self.rate <= 1:
            raise ConfigError(f"sampling rate {self.rate} must be between 0 and 1")
        if self.sampling not in get_args(Sampling):
            raise ConfigError(f"unknown sampling {self.sampling!r}: use one of {', '.join(get_args(Sampling))}")
        if self.sampling == "capped_poisson" and not (self.cohort >= 1 and self.population >= 1):
            raise ConfigError(f"a Poisson sample of {self.population} cannot be capped at {self.cohort}: use 1 or more")
        if self.sampling == "fixed_size":
            if not 0 <= self.cohort <= self.population or self.population == 0:
                raise ConfigError(
                    f"a cohort of fixed size {self.cohort} cannot be drawn from a population of "
                    f"{self.population}: make the cohort at most the population"
                )
            if not math.isclose(self.rate, self.cohort / self.population, rel_tol=1e-9):
                raise ConfigError(f"sampling rate {self.rate} is not {self.cohort} of {self.population}")

    @property
    def shape(self) -> Hashable:
        return self.sampling, self.population, self.cohort

    def sensitivity(self, relation: Relation) -> float:
        """L2; who joins a capped sample may push another out."""
        return 2.0 if relation == "replace_one" or self.sampling == "capped_poisson" else 1.0

    def unsampled(self) -> "SampledGaussian":
        return replace(self, sampling="all", rate=1.0, population=0, cohort=0)

    def larger_population(self, relation: Relation) -> int:
        """Of two neighbours, where who joins a capped sample counts: the one with a unit added is the dearer."""
        return self.population + (relation == "add_or_remove_one")

    def event(self, relation: Relation) -> "dp_accounting.DpEvent":
        """The release as a ``dp_accounting`` event, safe to hand to any of its accountants.

        ``PLDAccountant`` doubles the sensitivity under replace-one by itself, ``RdpAccountant`` does not. A
        Poisson event (which ``RdpAccountant`` refuses under replace-one), capped or not, keeps its noise multiplier; a
        fixed-size event (which only ``RdpAccountant`` takes, under replace-one; zero-out is a special
        replacement) halves it, and so does a plain Gaussian under replace-one.
        """
        from dp_accounting import (
            GaussianDpEvent,
            PoissonSampledDpEvent,
            SampledWithoutReplacementDpEvent,
            TruncatedSubsampledGaussianDpEvent,
        )

        full, half = GaussianDpEvent(self.noise_multiplier), GaussianDpEvent(self.noise_multiplier / 2)
        if self.sampling == "poisson":
            return PoissonSampledDpEvent(self.rate, full)
        if self.sampling == "capped_poisson":
            larger = self.larger_population(relation)
            return TruncatedSubsampledGaussianDpEvent(larger, self.rate, self.cohort, self.noise_multiplier)
        if self.sampling == "fixed_size":
            return SampledWithoutReplacementDpEvent(self.population, self.cohort, half)
        return half if relation == "replace_one" else full


def check_accountable(*, sampling: Sampling, relation: Relation, accountant: Accountant) -> None:
    """Raise ``ConfigError``, with the mend, where the accountant has no valid bound.

    * ``all`` is judged in closed form (Balle & Wang 2018) whichever accountant is named.
    * ``poisson``: add-or-remove-one by all four; zero-out costs the same (the coin stays, the contribution
      becomes zero); replace-one by ``pld`` only, the others do not double the sensitivity.
    * ``capped_poisson`` is not Poisson: whoever joins may push another out. ``pld`` alone knows it, by the bound of
      arXiv 2508.15089 as dp-accounting has it.
    * ``fixed_size`` is not Poisson (Lebeda et al., arXiv 2405.20769): replace-one by ``rdp`` (Wang, Balle &
      Kasiviswanathan 2019, Theorem 27), zero-out by the smaller of that and no amplification.
    """
    for name, value, known in (
        ("privacy.relation", relation, get_args(Relation)),
        ("privacy.accountant", accountant, get_args(Accountant)),
        ("sampling", sampling, get_args(Sampling)),
    ):
        if value not in known:
            raise ConfigError(f"unknown {name}={value}: use one of {', '.join(known)}")
    if sampling == "poisson" and relation == "replace_one" and accountant != "pld":
        raise ConfigError(
            f"privacy.accountant={accountant} cannot judge Poisson sampling under replace-one: set "
            "privacy.accountant=pld, or privacy.relation=add_or_remove_one"
        )
    if sampling == "capped_poisson" and accountant != "pld":
        raise ConfigError(
            f"privacy.accountant={accountant} cannot judge capped Poisson sampling: set privacy.accountant=pld, or "
            "sampling=poisson"
        )
    if sampling == "fixed_size" and relation == "add_or_remove_one":
        raise ConfigError(
            "a cohort of fixed size has no add-or-remove-one guarantee (its size is public and fixed): set "
            "privacy.relation=replace_one or zero_out with privacy.accountant=rdp, or sampling=poisson"
        )
    if sampling == "fixed_size" and accountant != "rdp":
        raise ConfigError(
            f"privacy.accountant={accountant} cannot judge cohorts of fixed size: set privacy.accountant=rdp, "
            "or sampling=poisson"
        )
