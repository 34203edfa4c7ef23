"""The vectorised engine: K clients at once from stacked parameters."""

from .noise import DpSgd
from .trainer import VectorizedTrainer
from .trial import Formulation, find_formulation

__all__ = ["DpSgd", "Formulation", "VectorizedTrainer", "find_formulation"]
