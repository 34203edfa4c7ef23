"""What guesses of a yes-or-no property come to, beside what a constant guess gets."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .intervals import auc_interval, share_interval
from .roc import BoolArray, FloatArray, auc


@dataclass(frozen=True, kw_only=True)
class PropertyScore:
    """How well guesses tell those with the property from those without.

    Attributes:
        success: balanced accuracy: mean of the shares that are right among those with and those without. Whoever
            guesses without looking gets 0.5, whatever the base rate.
        success_low, success_high: interval of the mean of two shares by the method of variance estimates recovery
            (Zou & Donner 2008), each with Clopper and Pearson's limits.
        accuracy, accuracy_low, accuracy_high: share that is right.
        baseline: accuracy of the better constant guess: the larger of the base rate and what is left.
        auc, auc_low, auc_high: of the scores behind the guesses.
        having, lacking: how many there are of each.
    """

    success: float
    success_low: float
    success_high: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    baseline: float
    auc: float
    auc_low: float
    auc_high: float
    having: int
    lacking: int
    confidence: float

    def to_json(self, *, of: str) -> dict[str, Any]:
        """As in ``run.json``; ``of``: what they are, ``clients`` or ``records``."""
        return {
            "success": self.success,
            "success_interval": [self.success_low, self.success_high],
            "accuracy": self.accuracy,
            "accuracy_interval": [self.accuracy_low, self.accuracy_high],
            "baseline": self.baseline,
            "auc": self.auc,
            "auc_interval": [self.auc_low, self.auc_high],
            f"{of}_with": self.having,
            f"{of}_without": self.lacking,
            "confidence": self.confidence,
        }


def with_shuffled(truth: BoolArray, rng: np.random.Generator) -> BoolArray:
    """Answers to learn from (100, n): the truth, and shuffled ones. Who learned those gets what chance gets."""
    return np.stack([truth, *(rng.permutation(truth) for _ in range(_SHUFFLES))])


def beside_control(log_odds: FloatArray, truth: BoolArray, *, of: str, confidence: float) -> dict[str, Any]:
    """As in ``run.json``: what was found by who learned the truth, and by who learned shuffled answers.

    Args:
        log_odds: by answer and unit (k, n); the first answer is the true one.
        of: what the units are, ``clients`` or ``records``.
    """
    found = score_property(log_odds[0], truth, confidence=confidence)
    if found is None:
        return dict.fromkeys(_MEASURED)
    control, tail = [balanced(guess, truth) for guess in log_odds[1:]], (1 - confidence) / 2
    return {
        **found.to_json(of=of),
        "control": float(np.mean(control)),
        "control_interval": np.quantile(control, [tail, 1 - tail]).tolist(),
    }


def balanced(log_odds: FloatArray, having: BoolArray) -> float:
    """Balanced accuracy alone; there must be clients of both sorts."""
    right = (log_odds > 0) == having
    return float(right[having].mean() + right[~having].mean()) / 2


def score_property(log_odds: FloatArray, having: BoolArray, *, confidence: float) -> PropertyScore | None:
    """Hold guesses (yes where log odds are above 0) against the truth; None: all have it, or none.

    Args:
        log_odds: (n,).
        having: the truth (n,).
    """
    right = (log_odds > 0) == having
    with_it, without = right[having], right[~having]
    if not len(with_it) or not len(without):
        return None
    shares, below, above = [], [], []
    for part in (with_it, without):
        found, share = int(part.sum()), float(part.mean())
        low, high = share_interval(found, len(part), confidence=confidence)
        shares.append(share)
        below.append(share - low)
        above.append(high - share)
    success = sum(shares) / 2
    least, most = share_interval(int(right.sum()), len(right), confidence=confidence)
    area = auc(log_odds, having)
    low, high = auc_interval(area, members=len(with_it), others=len(without), confidence=confidence)
    rate = float(np.mean(having))
    return PropertyScore(
        success=success,
        success_low=success - math.hypot(*below) / 2,
        success_high=success + math.hypot(*above) / 2,
        accuracy=float(right.mean()),
        accuracy_low=least,
        accuracy_high=most,
        baseline=max(rate, 1 - rate),
        auc=area,
        auc_low=low,
        auc_high=high,
        having=len(with_it),
        lacking=len(without),
        confidence=confidence,
    )


_SHUFFLES = 99
_MEASURED = ("success", "success_interval", "baseline", "auc", "control", "control_interval")
