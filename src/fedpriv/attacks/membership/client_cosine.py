"""Whether a client was ever trained on, from what its data would have sent."""

from dataclasses import dataclass
from typing import cast, final

import numpy as np
import torch

from ..observation import FederatedObservation, FloatArray, MembershipAttack, Needs, SeenRound, Sees
from .cosines import cosine, steps
from .update_cosine import check_candidates, check_sees


@final
@dataclass(frozen=True, kw_only=True)
class ClientCosine(MembershipAttack):
    """Mean over rounds of the cosine of a client's reference update with what was seen, beside what all have in common.

    The adversary has data of each candidate client, and wants to know whether the client is of the population. Its
    reference update is the descent direction of that data at the round's global model, less the candidates' mean;
    who took part in a round is not used. The client-level game of Nasr et al. (2019), the statistic of `UpdateCosine`.

    Args:
        sees: ``updates``, without their senders' names (the best fit of a round counts); the ``sums`` of a round;
            or the step between two ``global_models``.
        candidates: at most so many clients, half of them members: each costs a gradient over its data a round.
    """

    sees: str
    candidates: int

    def __post_init__(self) -> None:
        check_sees("client_cosine", self.sees)
        check_candidates("client_cosine", self.candidates)

    @property
    def needs(self) -> Needs:
        return Needs(level="client", sees=cast(Sees, self.sees), shadows=0, candidates=self.candidates)

    def scores(self, seen: FederatedObservation) -> FloatArray:
        rounds = [self._round(seen, round_, step) for round_, step in steps(seen.rounds, seen.final)]
        means: FloatArray = np.mean(rounds, axis=0)
        return means

    def _round(self, seen: FederatedObservation, round_: SeenRound, step: torch.Tensor) -> FloatArray:
        references = -torch.stack([g.double() for g in seen.candidates.gradients(round_.parameters)])
        common = references.mean(dim=0)
        references -= common
        directions = [_without(direction, common) for direction in self._directions(round_, step)]
        best = [max((cosine(d, r) for d in directions), default=0.0) for r in references]
        return np.asarray(best, dtype=np.float64)

    def _directions(self, seen: SeenRound, step: torch.Tensor) -> list[torch.Tensor]:
        if self.sees == "global_models":
            return [step]
        if self.sees == "sums":
            return [] if seen.total is None else [seen.total.double()]
        updates = [update.double() for update in (seen.updates or {}).values()]
        if len(updates) < 2:
            return updates
        mean = torch.stack(updates).mean(dim=0)
        return [update - mean for update in updates]


def _without(direction: torch.Tensor, common: torch.Tensor) -> torch.Tensor:
    """Less its part along what all have in common."""
    length = float(common @ common)
    return direction - common * (float(direction @ common) / length) if length > 0 else direction
