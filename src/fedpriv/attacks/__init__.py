"""Attacks: what an adversary who sees an observation, and nothing else, makes of it; the truth joins in scoring."""

from .observation import (
    CandidateModel,
    FederatedObservation,
    Level,
    MembershipAttack,
    ModelObservation,
    Needs,
    SeenRound,
    Sees,
    ShadowObservation,
)
from .words import in_words

__all__ = [
    "CandidateModel",
    "FederatedObservation",
    "Level",
    "MembershipAttack",
    "ModelObservation",
    "Needs",
    "SeenRound",
    "Sees",
    "ShadowObservation",
    "in_words",
]
