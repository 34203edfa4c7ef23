"""What an attack's scores come to, now that the truth is told."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fedpriv.errors import FedprivError

from .intervals import auc_interval, share_interval
from .roc import BoolArray, FloatArray, Roc, auc, roc

_FALSE_POSITIVES = 10
"""Expected at a rate, below which the rate counts as not measurable."""
_NAMES = {0.001: "0_1pct", 0.01: "1pct"}
_POINTS = 200


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Share of members found at a false-positive rate, and its interval given the threshold."""

    tpr: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Score:
    """How well scores tell members from others.

    Attributes:
        auc, auc_low, auc_high: area under the ROC curve.
        rates: false-positive rate -> what is found there; None: not measurable with so few non-members.
        members, others: how many there were of each.
        confidence: of the intervals. They count candidates as independent, given the one model that was attacked.
    """

    auc: float
    auc_low: float
    auc_high: float
    rates: dict[float, Rate | None]
    members: int
    others: int
    confidence: float
    curve: Roc

    def to_json(self) -> dict[str, Any]:
        """As in ``run.json``: ``auc``, ``tpr_at_1pct_fpr``, ... (null: not measurable)."""
        told: dict[str, Any] = {"auc": self.auc, "auc_interval": [self.auc_low, self.auc_high]}
        for rate, found in self.rates.items():
            name = f"tpr_at_{_NAMES[rate]}_fpr"
            told[name] = None if found is None else found.tpr
            told[f"{name}_interval"] = None if found is None else [found.low, found.high]
        return {**told, "confidence": self.confidence, "members": self.members, "non_members": self.others}

    def curve_to_json(self) -> dict[str, list[float]]:
        """The ROC curve for logarithmic axes."""
        fpr, tpr = self.curve.thinned(_POINTS)
        return {"fpr": fpr, "tpr": tpr}


def score(scores: FloatArray, members: BoolArray, *, confidence: float) -> Score:
    """Hold scores against the truth.

    A rate f is measured with at least 10 / f non-members only (Carlini et al. 2022, section III, on why low
    rates are what counts).

    Args:
        scores: (n,), higher for likelier members.
        members: the truth (n,), with at least one of each.

    Raises:
        FedprivError: a score is NaN, or there is nobody to tell apart.
    """
    if np.isnan(scores).any():
        raise FedprivError(f"{int(np.isnan(scores).sum())} of {len(scores)} scores are not numbers.")
    count, others = int(members.sum()), int((~members).sum())
    if not count or not others:
        raise FedprivError(f"{count} members and {others} non-members: there is nobody to tell apart.")
    curve = roc(scores, members)
    area = auc(scores, members)
    low, high = auc_interval(area, members=count, others=others, confidence=confidence)
    rates: dict[float, Rate | None] = {}
    for rate in _NAMES:
        if others * rate < _FALSE_POSITIVES * (1 - 1e-9):
            rates[rate] = None
            continue
        found = curve.found_at(rate)
        least, most = share_interval(found, count, confidence=confidence)
        rates[rate] = Rate(tpr=found / count, low=least, high=most)
    return Score(
        auc=area,
        auc_low=low,
        auc_high=high,
        rates=rates,
        members=count,
        others=others,
        confidence=confidence,
        curve=curve,
    )
