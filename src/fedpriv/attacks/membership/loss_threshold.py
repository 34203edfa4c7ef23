"""The loss alone."""

from dataclasses import dataclass
from typing import final

from ..observation import FloatArray, MembershipAttack, ModelObservation, Needs


@final
@dataclass(frozen=True, kw_only=True)
class LossThreshold(MembershipAttack):
    """The lower the loss, the likelier a member (Yeom et al. 2018, "Privacy Risk in Machine Learning", section 3)."""

    @property
    def needs(self) -> Needs:
        return Needs(level="example", sees="final_model", shadows=0, candidates=None)

    def scores(self, seen: ModelObservation) -> FloatArray:
        return -seen.losses
