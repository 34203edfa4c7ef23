"""Rounds that share noise: groups, which the ledger names."""

from dataclasses import dataclass
from typing import final

import torch

from .encoded import State


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

    def state(self) -> State:
        """For a checkpoint; public."""
        return {name: torch.tensor(getattr(self, name)) for name in ("first_round", "attempt")}


@final
@dataclass(frozen=True, kw_only=True)
class Groups:
    """Which rounds of a run share noise: so many at a time, in one attempt.

    Another attempt draws other noise, and could take back none of an earlier one: its first round begins a group.

    Args:
        rounds: of the run, as planned.
        restart_every: rounds of a group.
    """

    rounds: int
    restart_every: int

    @property
    def first(self) -> Group:
        return self._group(1, 0)

    def begun(self, round_number: int, attempt: int, state: State) -> State:
        """``state`` as it is once the attempt has begun with this round, where it had not."""
        return state if int(state["attempt"]) == attempt else self._group(round_number, attempt).state()

    def of(self, round_number: int, attempt: int, state: State) -> Group:
        """The group of a round, from the state before it."""
        first = int(self.begun(round_number, attempt, state)["first_round"])
        return self._group(first + (round_number - first) // self.restart_every * self.restart_every, attempt)

    def _group(self, first_round: int, attempt: int) -> Group:
        return Group(
            first_round=first_round,
            last_round=max(first_round, min(first_round + self.restart_every - 1, self.rounds)),
            attempt=attempt,
        )
