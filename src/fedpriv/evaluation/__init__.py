"""How good a model is, and for whom."""

from .global_model import evaluate_global
from .spread import accuracy_spread

__all__ = ["accuracy_spread", "evaluate_global"]
