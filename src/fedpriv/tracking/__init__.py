"""Callbacks: what a run tells, and trackers that keep it elsewhere."""

from .callback import Callback
from .final_model import FinalModel
from .isolation import Isolated
from .mlflow import MlflowTracker
from .sharing import artifacts, numbers, results, rounds_so_far, settings
from .tensorboard import TensorBoardTracker
from .told import Told
from .wandb import WandbTracker

__all__ = [
    "Callback",
    "FinalModel",
    "Isolated",
    "MlflowTracker",
    "TensorBoardTracker",
    "Told",
    "WandbTracker",
    "artifacts",
    "numbers",
    "results",
    "rounds_so_far",
    "settings",
]
