"""What an adversary sees who asks for a property of a client's data. The truth about real clients is not in it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ..observation import BoolArray, FloatArray


@dataclass(frozen=True, kw_only=True)
class PropertyNeeds:
    """The property, and what an attack has to be given.

    A client has the property if a share of at least ``threshold`` of its training examples is of the kind.

    Attributes:
        label: the kind is this class; or
        group: the kind is {sensitive attribute: name of one of its groups}.
        threshold: in (0, 1].
        shadows: clients that the adversary simulates, half of them with the property.
        rounds: that it looks at, from the first on.
    """

    label: int | None
    group: Mapping[str, str] | None
    threshold: float
    shadows: int
    rounds: int


@dataclass(frozen=True, kw_only=True, eq=False)
class PropertyRound:
    """Updates of one round, and updates that shadow clients would have sent in their place.

    Attributes:
        updates: what came back from clients (n, d), up to a public factor.
        shadow_updates: of clients of the adversary's own, from the same global model (m, d).
        shadow_has: whether their data have the property, as (k, m): k answers to learn from, of which the first is true
            and the others, for a control, are shuffled.
    """

    updates: torch.Tensor
    shadow_updates: torch.Tensor
    shadow_has: BoolArray


class PropertyAttack(ABC):
    """Says of each client how likely it seems to have a property."""

    @property
    @abstractmethod
    def needs(self) -> PropertyNeeds:
        """What it has to be given."""

    @abstractmethod
    def log_odds(self, seen: PropertyRound) -> FloatArray:
        """Of the property, by answer and client (k, n); above 0: rather with it. Rounds are averaged."""
