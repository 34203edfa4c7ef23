"""Who takes part in a round: samplers draw what their law says, and their law is what is accounted."""

from dataclasses import dataclass
from typing import Protocol, final

import numpy as np

from fedpriv.accounting.sampling import CohortSampling
from fedpriv.streams import Streams


class CohortSampler(Protocol):
    """Draws cohorts that depend on the round and the sampling stream only, never on data or on replies."""

    @property
    def law(self) -> CohortSampling:
        """How cohorts are drawn, and what they may be accounted as."""
        ...

    def cohort(self, round_number: int) -> np.ndarray:
        """Sorted client ids (int64) of one round; may be empty."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class AllClients:
    """Every client whose turn it is: ``all``, or ``round_robin`` with turns."""

    law: CohortSampling
    clients: np.ndarray

    def cohort(self, round_number: int) -> np.ndarray:
        return whose_turn(self.law, self.clients, round_number)


@final
@dataclass(frozen=True, kw_only=True)
class PoissonSampler:
    """Every client whose turn it is flips its own coin: ``poisson``, or ``cyclic_poisson`` with turns.

    The sampling that amplification theorems assume: an own coin each, whoever else is there.
    """

    law: CohortSampling
    clients: np.ndarray
    streams: Streams

    def cohort(self, round_number: int) -> np.ndarray:
        clients = whose_turn(self.law, self.clients, round_number)
        return clients[self.streams.rng("cohort", round_number).random(len(clients)) < self.law.rate]


@final
@dataclass(frozen=True, kw_only=True)
class CappedPoissonSampler:
    """As Poisson, then cut to the cap, uniformly at random: no longer an own coin each, and dearer."""

    law: CohortSampling
    clients: np.ndarray
    streams: Streams

    def cohort(self, round_number: int) -> np.ndarray:
        rng = self.streams.rng("cohort", round_number)
        drawn = self.clients[rng.random(len(self.clients)) < self.law.rate]
        return drawn if len(drawn) <= self.law.cap else _without_replacement(rng, drawn, self.law.cap)


@final
@dataclass(frozen=True, kw_only=True)
class FixedSizeSampler:
    """Exactly so many clients a round, uniformly without replacement. Not Poisson, and never accounted so."""

    law: CohortSampling
    clients: np.ndarray
    streams: Streams

    def cohort(self, round_number: int) -> np.ndarray:
        return _without_replacement(self.streams.rng("cohort", round_number), self.clients, int(self.law.cohort))


def make_sampler(law: CohortSampling, *, clients: np.ndarray, streams: Streams) -> CohortSampler:
    """The sampler that draws by ``law`` from ``clients`` (sorted ids, int64)."""
    if law.kind in ("all", "round_robin"):
        return AllClients(law=law, clients=clients)
    if law.kind == "fixed_size":
        return FixedSizeSampler(law=law, clients=clients, streams=streams)
    if law.kind == "capped_poisson":
        return CappedPoissonSampler(law=law, clients=clients, streams=streams)
    return PoissonSampler(law=law, clients=clients, streams=streams)


def whose_turn(law: CohortSampling, clients: np.ndarray, round_number: int) -> np.ndarray:
    """The clients whose turn a round is: by their own id, whoever else is there."""
    return clients if law.separation == 1 else clients[clients % law.separation == law.turn(round_number)]


def participations(
    sampler: CohortSampler, *, first_round: int, last_round: int, population: int
) -> np.ndarray:
    """How often each client is in the cohorts of ``first_round`` to ``last_round``: int64, shape (population,).

    The schedule is public randomness drawn before training, so that noise can be calibrated to it.
    """
    counts = np.zeros(population, dtype=np.int64)
    if sampler.law.kind == "all":
        counts[sampler.cohort(first_round)] = max(0, last_round - first_round + 1)
        return counts
    for round_number in range(first_round, last_round + 1):
        counts[sampler.cohort(round_number)] += 1
    return counts


def _without_replacement(rng: np.random.Generator, clients: np.ndarray, size: int) -> np.ndarray:
    return np.sort(rng.choice(clients, size=size, replace=False, shuffle=False))
