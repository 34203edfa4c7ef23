"""Whether an update points where the example would have pulled it."""

from dataclasses import dataclass
from typing import cast, final

import numpy as np
import torch

from fedpriv.errors import ConfigError, FedprivError

from ..observation import FederatedObservation, FloatArray, MembershipAttack, Needs, SeenRound, Sees
from .cosines import cosine, steps

SEES = ("updates", "sums", "global_models")


@final
@dataclass(frozen=True, kw_only=True)
class UpdateCosine(MembershipAttack):
    """Mean cosine of the example's own descent direction with its holder's updates (Li, Li and Ribeiro 2023,
    "Effective passive membership inference attacks in federated learning against overparameterized models", section 3).

    Only rounds with the holder in the cohort count; a candidate whose holder never took part scores 0.

    Args:
        sees: the holder's own ``updates``; the cohort's ``sums``; or the step between two ``global_models``.
        candidates: at most so many examples, half of them members: each costs a gradient a round.
    """

    sees: str
    candidates: int

    def __post_init__(self) -> None:
        check_sees("update_cosine", self.sees)
        check_candidates("update_cosine", self.candidates)

    @property
    def needs(self) -> Needs:
        return Needs(level="example", sees=cast(Sees, self.sees), shadows=0, candidates=self.candidates)

    def scores(self, seen: FederatedObservation) -> FloatArray:
        if seen.holders is None:
            raise FedprivError("update_cosine infers examples, and needs to know with whom they would be.")
        total, count = np.zeros(len(seen.holders)), np.zeros(len(seen.holders))
        for round_, step in steps(seen.rounds, seen.final):
            there = np.isin(seen.holders, round_.cohort)
            gradients = seen.candidates.gradients(round_.parameters)
            for i, gradient in enumerate(gradients):
                direction = self._direction(round_, step, int(seen.holders[i])) if there[i] else None
                if direction is not None:
                    total[i] -= cosine(direction, gradient.double())
                    count[i] += 1
        means: FloatArray = total / np.maximum(count, 1)
        return means

    def _direction(self, seen: SeenRound, step: torch.Tensor, holder: int) -> torch.Tensor | None:
        if self.sees == "global_models":
            return step
        if self.sees == "sums":
            return None if seen.total is None else seen.total.double()
        found = (seen.updates or {}).get(holder)
        return None if found is None else found.double()


def check_sees(attack: str, sees: str) -> None:
    if sees not in SEES:
        raise ConfigError(f"attack.{attack}.sees={sees} is unknown; use one of {', '.join(SEES)}.")


def check_candidates(attack: str, candidates: int) -> None:
    if candidates < 2:
        raise ConfigError(f"attack.{attack}.candidates={candidates} must be at least 2: half of them are members.")
