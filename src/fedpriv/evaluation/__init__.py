"""How good a model is, and for whom."""

from .global_model import baseline, evaluate_global
from .spread import spread

__all__ = ["baseline", "evaluate_global", "spread"]
