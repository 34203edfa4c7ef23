"""How the loss falls over the sequence of global models."""

from dataclasses import dataclass
from typing import final

import numpy as np

from fedpriv.errors import FedprivError

from ..observation import FederatedObservation, FloatArray, MembershipAttack, Needs
from .update_cosine import check_candidates


@final
@dataclass(frozen=True, kw_only=True)
class LossDrop(MembershipAttack):
    """A member's loss falls when the client that holds it takes part, and less when it does not.

    The score is the mean drop of the candidate's loss over rounds with its holder, less the mean drop over rounds
    without it; where every round is with it, the drop from the first global model to the last. After the passive
    attacks on sequences of models of Nasr et al. (2019, section III) and Zari et al. (2021).

    Args:
        candidates: at most so many examples, half of them members.
    """

    candidates: int

    def __post_init__(self) -> None:
        check_candidates("loss_drop", self.candidates)

    @property
    def needs(self) -> Needs:
        return Needs(level="example", sees="global_models", shadows=0, candidates=self.candidates)

    def scores(self, seen: FederatedObservation) -> FloatArray:
        if seen.holders is None:
            raise FedprivError("loss_drop infers examples, and needs to know with whom they would be.")
        losses = np.stack([*(seen.candidates.losses(r.parameters) for r in seen.rounds), self._last(seen)])
        drops = losses[:-1] - losses[1:]
        there = np.stack([np.isin(seen.holders, r.cohort) for r in seen.rounds])
        return _mean(drops, there) - _mean(drops, ~there)

    def _last(self, seen: FederatedObservation) -> FloatArray:
        return seen.candidates.losses(seen.final)


def _mean(values: FloatArray, used: np.ndarray) -> FloatArray:
    """Over rounds (rounds, n) -> (n,); 0 where there are none."""
    mean: FloatArray = np.where(used, values, 0.0).sum(axis=0) / np.maximum(used.sum(axis=0), 1)
    return mean
