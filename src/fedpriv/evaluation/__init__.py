"""How good a model is, and for whom."""

from .global_model import baseline, evaluate_global, in_channels_last
from .spread import by_size, spread

__all__ = ["baseline", "by_size", "evaluate_global", "in_channels_last", "spread"]
