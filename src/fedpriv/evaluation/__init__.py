"""How good a model is, and for whom."""

from .clipping import ClipRates, training_examples
from .fairness import evaluate_groups
from .global_model import baseline, evaluate_global, in_channels_last
from .spread import by_size, deciles_by_size, spread

__all__ = [
    "ClipRates",
    "baseline",
    "by_size",
    "deciles_by_size",
    "evaluate_global",
    "evaluate_groups",
    "in_channels_last",
    "spread",
    "training_examples",
]
