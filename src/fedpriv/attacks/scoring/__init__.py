"""Where the truth joins: how well scores tell members from others, with intervals."""

from .intervals import auc_interval, share_interval
from .roc import Roc, auc, roc
from .score import Rate, Score, score
from .words import in_words

__all__ = ["Rate", "Roc", "Score", "auc", "auc_interval", "in_words", "roc", "score", "share_interval"]
