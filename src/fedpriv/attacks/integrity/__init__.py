"""Integrity: clients that want the model to be wrong, what they do, and how well it works."""

from .backdoor import Backdoor
from .label_flip import LabelFlip
from .success import Outcome, outcome
from .tampering import Boost, Facts, Tampering
from .trainer import TamperingTrainer
from .updates import Boosted, SignFlip

__all__ = [
    "Backdoor",
    "Boost",
    "Boosted",
    "Facts",
    "LabelFlip",
    "Outcome",
    "SignFlip",
    "Tampering",
    "TamperingTrainer",
    "outcome",
]
