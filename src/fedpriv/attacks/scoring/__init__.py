"""Where the truth joins: how well scores tell members from others, with intervals."""

from .intervals import auc_interval, share_interval
from .roc import Roc, auc, roc
from .score import Rate, Score, score

__all__ = ["Rate", "Roc", "Score", "auc", "auc_interval", "roc", "score", "share_interval"]
