"""The loss alone."""

from dataclasses import dataclass

from ..observation import FloatArray, ModelObservation, Needs


@dataclass(frozen=True, kw_only=True)
class LossThreshold:
    """The lower the loss, the likelier a member (Yeom et al. 2018, "Privacy Risk in Machine Learning", section 3)."""

    @property
    def needs(self) -> Needs:
        return Needs(level="example", sees="final_model", shadows=0)

    def scores(self, seen: ModelObservation) -> FloatArray:
        return -seen.losses
