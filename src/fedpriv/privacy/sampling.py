"""Who takes part in a round: samplers draw what their law says, and their law is what is accounted."""

from dataclasses import dataclass, field
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

    def expected(self, round_number: int) -> float:
        """Clients of a round's cohort, expected (before any cap): public, and the divisor of client-level sums."""
        ...

    def budgets(self, round_number: int) -> tuple[int, ...] | None:
        """Positions of the budgets whose clients may be in the cohort; None where all are drawn alike."""
        ...


class _ByLaw:
    """A sampler whose rounds all expect the same."""

    law: CohortSampling

    def expected(self, round_number: int) -> float:
        return self.law.cohort

    def budgets(self, round_number: int) -> tuple[int, ...] | None:
        return None


@final
@dataclass(frozen=True, kw_only=True)
class AllClients(_ByLaw):
    """Every client whose turn it is: ``all``, or ``round_robin`` with turns."""

    law: CohortSampling
    clients: np.ndarray

    def cohort(self, round_number: int) -> np.ndarray:
        return whose_turn(self.law, self.clients, round_number)


@final
@dataclass(frozen=True, kw_only=True)
class PoissonSampler(_ByLaw):
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
class CappedPoissonSampler(_ByLaw):
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
class FixedSizeSampler(_ByLaw):
    """Exactly so many clients a round, uniformly without replacement. Not Poisson, and never accounted so."""

    law: CohortSampling
    clients: np.ndarray
    streams: Streams

    def cohort(self, round_number: int) -> np.ndarray:
        return _without_replacement(self.streams.rng("cohort", round_number), self.clients, int(self.law.cohort))


@final
@dataclass(frozen=True, kw_only=True)
class RetiringSampler:
    """As ``sampler``, without clients that have had their share: who was drawn often enough is drawn no more.

    Whether a client is left out depends on its own earlier coins only, so that each round is accounted as the law says:
    given all that was released before, its addend is some clipped one under a coin of its own, or none.

    Args:
        most: participations after which each client retires (int64, by client id).
        since: last round whose participations do not count.
    """

    sampler: CohortSampler
    most: np.ndarray
    since: int
    _before: dict[int, np.ndarray] = field(default_factory=dict, compare=False, repr=False)

    @property
    def law(self) -> CohortSampling:
        return self.sampler.law

    def expected(self, round_number: int) -> float:
        return self.sampler.expected(round_number)

    def budgets(self, round_number: int) -> tuple[int, ...] | None:
        return None

    def cohort(self, round_number: int) -> np.ndarray:
        if round_number <= self.since:
            return self.sampler.cohort(round_number)
        return self._left(round_number, self._participations_before(round_number))

    def _left(self, round_number: int, before: np.ndarray) -> np.ndarray:
        drawn = self.sampler.cohort(round_number)
        left: np.ndarray = drawn[before[drawn] < self.most[drawn]]
        return left

    def _participations_before(self, round_number: int) -> np.ndarray:
        """Counted on from the latest round that is known; only that one is kept."""
        known = max((r for r in self._before if r <= round_number), default=self.since + 1)
        counts = self._before.get(known, np.zeros(len(self.most), dtype=np.int64)).copy()
        for earlier in range(known, round_number):
            counts[self._left(earlier, counts)] += 1
        self._before.clear()
        self._before[round_number] = counts
        return counts


@final
@dataclass(frozen=True, kw_only=True)
class LeavingSampler:
    """As ``sampler``, without clients whose last round is over: known beforehand, whatever their coins say.

    Args:
        clients: that ``sampler`` draws from, by coins of their own or all of them.
        budget_of: of each client (int64, by client id), the position of its budget.
        last_rounds: of each budget (int64), the last round of its clients.
    """

    sampler: CohortSampler
    clients: np.ndarray
    budget_of: np.ndarray
    last_rounds: np.ndarray

    @property
    def law(self) -> CohortSampling:
        return self.sampler.law

    def expected(self, round_number: int) -> float:
        return self.law.rate * len(self._there(self.clients, round_number))

    def budgets(self, round_number: int) -> tuple[int, ...]:
        return tuple(np.flatnonzero(self.last_rounds >= round_number).tolist())

    def cohort(self, round_number: int) -> np.ndarray:
        return self._there(self.sampler.cohort(round_number), round_number)

    def _there(self, clients: np.ndarray, round_number: int) -> np.ndarray:
        there: np.ndarray = clients[self.last_rounds[self.budget_of[clients]] >= round_number]
        return there


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
    if isinstance(sampler, AllClients) and sampler.law.kind == "all":  # and nobody leaves
        counts[sampler.cohort(first_round)] = max(0, last_round - first_round + 1)
        return counts
    for round_number in range(first_round, last_round + 1):
        counts[sampler.cohort(round_number)] += 1
    return counts


def _without_replacement(rng: np.random.Generator, clients: np.ndarray, size: int) -> np.ndarray:
    return np.sort(rng.choice(clients, size=size, replace=False, shuffle=False))
