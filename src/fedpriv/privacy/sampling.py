"""Who takes part in a round. A sampler also says what its coins may be accounted as."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fedpriv.accounting.sampled_gaussian import SampledGaussian
from fedpriv.streams import Streams


class CohortSampler(Protocol):
    """Draws cohorts that depend on the round and the sampling stream only, never on data or on replies."""

    @property
    def kind(self) -> str:
        """``poisson``, ``fixed_size`` or ``all``."""
        ...

    @property
    def rate(self) -> float:
        """Chance of one client to be in one cohort."""
        ...

    @property
    def expected_cohort(self) -> float:
        """Public expected number of clients in a cohort: rate x population."""
        ...

    def cohort(self, round_number: int) -> np.ndarray:
        """Sorted client ids (int64) of one round; may be empty under Poisson sampling."""
        ...

    def release(self, noise_multiplier: float) -> SampledGaussian:
        """What one Gaussian release over such a cohort may be accounted as, at client level."""
        ...


@dataclass(frozen=True, kw_only=True)
class PoissonSampler:
    """Every client flips its own coin every round: the sampling that amplification theorems assume."""

    clients: np.ndarray
    rate: float
    streams: Streams
    kind: str = "poisson"

    @property
    def expected_cohort(self) -> float:
        return self.rate * len(self.clients)

    def cohort(self, round_number: int) -> np.ndarray:
        coins = self.streams.rng("cohort", round_number).random(len(self.clients))
        return self.clients[coins < self.rate]

    def release(self, noise_multiplier: float) -> SampledGaussian:
        return SampledGaussian(
            noise_multiplier=noise_multiplier, sampling="poisson", rate=self.rate, population=0, cohort=0
        )


@dataclass(frozen=True, kw_only=True)
class FixedSizeSampler:
    """Exactly ``size`` clients a round, uniformly without replacement. Not Poisson, and never accounted so."""

    clients: np.ndarray
    size: int
    streams: Streams
    kind: str = "fixed_size"

    @property
    def rate(self) -> float:
        return self.size / len(self.clients)

    @property
    def expected_cohort(self) -> float:
        return float(self.size)

    def cohort(self, round_number: int) -> np.ndarray:
        rng = self.streams.rng("cohort", round_number)
        return np.sort(rng.choice(self.clients, size=self.size, replace=False, shuffle=False))

    def release(self, noise_multiplier: float) -> SampledGaussian:
        return SampledGaussian(
            noise_multiplier=noise_multiplier,
            sampling="fixed_size",
            rate=self.rate,
            population=len(self.clients),
            cohort=self.size,
        )


@dataclass(frozen=True, kw_only=True)
class AllClients:
    """Every client every round: no amplification to claim."""

    clients: np.ndarray
    rate: float = 1.0
    kind: str = "all"

    @property
    def expected_cohort(self) -> float:
        return float(len(self.clients))

    def cohort(self, round_number: int) -> np.ndarray:
        return self.clients

    def release(self, noise_multiplier: float) -> SampledGaussian:
        return SampledGaussian(
            noise_multiplier=noise_multiplier, sampling="all", rate=1.0, population=0, cohort=0
        )


def participations(
    sampler: CohortSampler, *, first_round: int, last_round: int, population: int
) -> np.ndarray:
    """How often each client is in the cohorts of ``first_round`` to ``last_round``: int64, shape (population,).

    The schedule is public randomness drawn before training, so that noise can be calibrated to it.
    """
    counts = np.zeros(population, dtype=np.int64)
    if sampler.kind == "all":
        counts[sampler.cohort(first_round)] = max(0, last_round - first_round + 1)
        return counts
    for round_number in range(first_round, last_round + 1):
        counts[sampler.cohort(round_number)] += 1
    return counts
