"""Laws by which cohorts are drawn, each with what a release over such a cohort may be accounted as.

One object serves the sampler that draws, the ledger that records and the planner that draws nothing, so that they
cannot disagree. No randomness lives here.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from fedpriv.accounting.sampled_gaussian import COUNTED, SampledGaussian, Sampling
from fedpriv.errors import ConfigError

CohortKind = Literal["poisson", "capped_poisson", "fixed_size", "all", "round_robin", "cyclic_poisson"]

EVERY_CLIENT = -1
"""Participant of a client-level ledger where every client has the same composition."""

ACCOUNTED_AS: dict[str, Sampling] = {
    "poisson": "poisson",
    "capped_poisson": "capped_poisson",
    "fixed_size": "fixed_size",
    "all": "all",
    # whose turn it is, is public: in its own turn a client is there for sure, or by its own coin
    "round_robin": "all",
    "cyclic_poisson": "poisson",
}
_TAKES_TURNS = ("round_robin", "cyclic_poisson")


@dataclass(frozen=True, kw_only=True)
class CohortSampling:
    """How the cohort of a round is drawn from a population of clients.

    | kind | a round's cohort | accounted as |
    | --- | --- | --- |
    | ``poisson`` | every client by its own coin | Poisson-sampled Gaussian |
    | ``capped_poisson`` | the same, cut to ``cap`` at random where more come | truncated Poisson (arXiv 2508.15089) |
    | ``fixed_size`` | exactly ``cohort``, without replacement | sampled without replacement, never as Poisson |
    | ``all`` | everybody | Gaussian, no amplification |
    | ``round_robin`` | all clients with id = round - 1 modulo ``separation`` | Gaussian, in a client's own turns only |
    | ``cyclic_poisson`` | of these, each by its own coin | Poisson-sampled Gaussian, in a client's own turns only |

    Args:
        population: clients that may be drawn.
        cohort: expected clients of a cohort, before any cap: public, and the divisor of client-level sums.
        separation: rounds from one turn of a client to its next, and so at least between two participations; 1 where
            every round is everybody's turn.
        cap: most clients of a cohort (``capped_poisson``); 0 for no cap.

    Raises:
        ConfigError: a cohort that cannot be drawn so.
    """

    kind: CohortKind
    population: int
    cohort: float
    separation: int
    cap: int

    def __post_init__(self) -> None:
        if self.kind not in get_args(CohortKind):
            raise ConfigError(f"unknown sampling={self.kind}: use one of {', '.join(get_args(CohortKind))}")
        if self.population < 1 or not self.cohort > 0:
            raise ConfigError(f"a cohort of {self.cohort:g} cannot be drawn from a population of {self.population}.")
        if self.separation < 1 or (self.separation > 1 and self.kind not in _TAKES_TURNS):
            raise ConfigError(f"sampling={self.kind} knows no turns: use sampling=round_robin or cyclic_poisson.")
        if self.cap < 0 or (self.cap > 0) != (self.kind == "capped_poisson"):
            raise ConfigError("a cap of at least 1 belongs to sampling=capped_poisson, and to no other sampling.")
        turn = self.population / self.separation
        if self.cohort > turn * (1 + 1e-9):
            taking_turns = f", where one in {self.separation} has its turn" if self.separation > 1 else ""
            raise ConfigError(
                f"a cohort of {self.cohort:g} cannot be drawn from a population of {self.population}{taking_turns}: "
                "use a smaller cohort or more clients."
            )
        if self.kind in ("all", "round_robin") and not math.isclose(self.cohort, turn):
            raise ConfigError(
                f"sampling={self.kind} takes {turn:g} clients a round, not {self.cohort:g}: drop the cohort "
                "(sampling.cohort=null)."
            )
        if self.kind == "fixed_size" and self.cohort != int(self.cohort):
            raise ConfigError(f"sampling=fixed_size needs a whole sampling.cohort, not {self.cohort:g}.")

    @property
    def rate(self) -> float:
        """Chance of a client to be in a cohort (before any cap), in a round that is its turn."""
        if self.kind in ("all", "round_robin"):
            return 1.0
        return self.cohort / (self.population / self.separation)

    def turn(self, round_number: int) -> int:
        """Whose turn a round is: the clients with this id modulo ``separation``."""
        return (round_number - 1) % self.separation

    def turns(self, first_round: int, last_round: int) -> dict[int, int]:
        """Participant -> how many of these rounds are its turn.

        Participants are the residues of ids modulo ``separation``; ``EVERY_CLIENT`` where there are no turns.
        """
        rounds = max(0, last_round - first_round + 1)
        if self.separation == 1:
            return {EVERY_CLIENT: rounds} if rounds else {}
        begun = min(rounds, self.separation)
        return {self.turn(first_round + i): 1 + (rounds - 1 - i) // self.separation for i in range(begun)}

    def most_turns(self, rounds: int) -> int:
        """The most turns that a client has in the first ``rounds`` rounds."""
        return math.ceil(rounds / self.separation)

    def release(self, noise_multiplier: float) -> SampledGaussian:
        """What one Gaussian release may be accounted as, for a client whose turn it is."""
        accounted = ACCOUNTED_AS[self.kind]
        counted = accounted in COUNTED
        return SampledGaussian(
            noise_multiplier=noise_multiplier,
            sampling=accounted,
            rate=self.rate,
            population=self.population if counted else 0,
            cohort=self.cap or (int(self.cohort) if counted else 0),
        )


def cohort_sampling(
    *, kind: CohortKind, population: int, cohort: float | None, separation: int | None, cap: int | None
) -> CohortSampling:
    """A law from what people say of it: what is left out follows, where only one value fits.

    Args:
        cohort: None means everybody whose turn it is.
        separation: ``round_robin`` takes it or the cohort, ``cyclic_poisson`` needs it.
        cap: needed by ``capped_poisson``.

    Raises:
        ConfigError: something is missing, or does not belong to this kind.
    """
    if kind == "capped_poisson" and cap is None:
        raise ConfigError("sampling=capped_poisson needs a cap: sampling.cap=N, the most clients of a cohort.")
    if cap is not None and kind != "capped_poisson":
        raise ConfigError(f"sampling.cap belongs to sampling=capped_poisson; sampling={kind} has none. Drop it.")
    if separation is not None and kind not in _TAKES_TURNS:
        raise ConfigError(
            f"sampling.separation belongs to sampling=round_robin and cyclic_poisson, not to sampling={kind}: drop it."
        )
    if kind == "cyclic_poisson" and separation is None:
        raise ConfigError("sampling=cyclic_poisson needs sampling.separation=N: rounds between two turns of a client.")
    if kind == "round_robin" and separation is None:
        if cohort is None or population % cohort:
            raise ConfigError(
                "sampling=round_robin needs sampling.separation=N (rounds between two turns of a client), or a "
                f"sampling.cohort that divides the population of {population}."
            )
        separation = int(population // cohort)
    separation = 1 if separation is None else separation
    if not 1 <= separation <= population:
        raise ConfigError(
            f"sampling.separation={separation} must lie between 1 and the population of {population} clients."
        )
    return CohortSampling(
        kind=kind,
        population=population,
        cohort=population / separation if cohort is None else cohort,
        separation=separation,
        cap=cap or 0,
    )
