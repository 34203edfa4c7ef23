"""Where the truth joins: how well scores tell members from others, with intervals."""

from .images import ImageScore, matched, nearest_others, psnr, ssim
from .intervals import auc_interval, share_interval
from .labels import LabelScore
from .roc import Roc, auc, roc
from .score import Rate, Score, score

__all__ = [
    "ImageScore",
    "LabelScore",
    "Rate",
    "Roc",
    "Score",
    "auc",
    "auc_interval",
    "matched",
    "nearest_others",
    "psnr",
    "roc",
    "score",
    "share_interval",
    "ssim",
]
