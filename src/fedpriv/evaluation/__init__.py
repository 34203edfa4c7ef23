"""How good a model is, and for whom."""

from .global_model import baseline, evaluate_global, in_channels_last
from .spread import spread

__all__ = ["baseline", "evaluate_global", "in_channels_last", "spread"]
