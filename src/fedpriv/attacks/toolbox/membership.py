"""Membership by a classifier of predictions."""

from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import numpy.typing as npt

from fedpriv.errors import ConfigError

from .classifier import as_classifier
from .interface import ToolboxAttack, TrainingKnown


@final
@dataclass(frozen=True, kw_only=True)
class ArtMembership(ToolboxAttack):
    """ART's ``MembershipInferenceBlackBox``: a model of its own tells members by the final model's predictions.

    It learns that from examples whose membership it knows (after Shokri et al. 2017, without their shadow models).

    Args:
        attack_model: ``rf`` (random forest), ``gb`` (gradient boosting), ``knn``, ``dt`` (decision tree), or ``lr``
            (logistic regression, which is blind to whether a prediction fits its label).
        candidates: half of them known, half asked about; members and others in equal numbers.
    """

    attack_model: Literal["rf", "gb", "lr", "knn", "dt"]
    candidates: int

    def __post_init__(self) -> None:
        if self.candidates < 8:
            raise ConfigError(f"candidates={self.candidates} must be at least 8.")

    @property
    def needs(self) -> Literal["training_known"]:
        return "training_known"

    def result(self, seen: TrainingKnown) -> npt.NDArray[np.float64]:
        from art.attacks.inference.membership_inference import MembershipInferenceBlackBox

        classifier = as_classifier(seen.facts, lr=None)
        attack = MembershipInferenceBlackBox(classifier, attack_model_type=self.attack_model)
        attack.fit(seen.members_x, seen.members_y, seen.others_x, seen.others_y)
        scores = np.asarray(attack.infer(seen.x, seen.y, probabilities=True), dtype=np.float64)
        return scores.reshape(len(seen.y), -1)[:, -1]
