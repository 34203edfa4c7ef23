"""Rounds that share noise: groups, which the ledger names."""

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, order=True, kw_only=True)
class Group:
    """The rounds ``first_round`` to ``last_round`` of one attempt."""

    first_round: int
    last_round: int
    attempt: int

    @property
    def name(self) -> str:
        return f"rounds {self.first_round} to {self.last_round}, attempt {self.attempt}"

    @property
    def details(self) -> tuple[tuple[str, float], ...]:
        return (("first_round", self.first_round), ("last_round", self.last_round))

    @property
    def length(self) -> int:
        return self.last_round - self.first_round + 1


@final
@dataclass(frozen=True, kw_only=True)
class Groups:
    """Which rounds of a run share noise: so many at a time, in one attempt.

    Another attempt has other noise over the same rounds. Where it begins amid a group, it is as if nobody had been in
    the group's earlier rounds: what is released follows from the sums of all its rounds, with zeros for those. So a
    group is a function of round and attempt, and needs no state.

    Args:
        rounds: of the run, as planned.
        restart_every: rounds of a group.
    """

    rounds: int
    restart_every: int

    def of(self, round_number: int, attempt: int) -> Group:
        """The group of a round, which is at most ``rounds``."""
        first = round_number - (round_number - 1) % self.restart_every
        return Group(
            first_round=first, last_round=min(first + self.restart_every - 1, self.rounds), attempt=attempt
        )
