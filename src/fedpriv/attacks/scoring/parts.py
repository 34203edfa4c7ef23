"""Who is found most: scores held against the truth part by part, such as by sensitive group."""

from collections.abc import Mapping
from typing import Any

from .intervals import auc_interval
from .roc import BoolArray, FloatArray, auc

FEWEST = 10
"""Members, and others, of a part of which an area is told."""


def auc_by_part(
    scores: FloatArray, members: BoolArray, parts: Mapping[str, BoolArray], *, confidence: float
) -> dict[str, dict[str, Any]]:
    """Of each part its ``auc`` and ``auc_interval`` (None: fewer than ten members or ten others), and the counts.

    Membership advantage is the attack's within the part: its members against its own non-members, so that a part whose
    losses are higher throughout is not taken for a part that leaks less.

    Args:
        scores, members: as for `score` (n,).
        parts: name -> which candidates it has (n,).
    """
    found = dict[str, dict[str, Any]]()
    for name, own in parts.items():
        inside, outside = int((own & members).sum()), int((own & ~members).sum())
        told: dict[str, Any] = {"auc": None, "auc_interval": None, "members": inside, "non_members": outside}
        if min(inside, outside) >= FEWEST:
            area = auc(scores[own], members[own])
            told["auc"] = area
            told["auc_interval"] = list(auc_interval(area, members=inside, others=outside, confidence=confidence))
        found[name] = told
    return found
