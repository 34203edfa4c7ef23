"""Attacks of the Adversarial Robustness Toolbox (ART; Nicolae et al. 2018) on the model that a run ends with."""

from .classifier import as_classifier, need_art
from .evasion import ArtEvasion
from .interface import ModelFacts, OwnedModel, ToolboxAttack, TrainingKnown
from .membership import ArtMembership
from .poisoning import ArtPoisoning

__all__ = [
    "ArtEvasion",
    "ArtMembership",
    "ArtPoisoning",
    "ModelFacts",
    "OwnedModel",
    "ToolboxAttack",
    "TrainingKnown",
    "as_classifier",
    "need_art",
]
