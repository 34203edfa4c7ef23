"""What an adversary sees who asks about people: clients' data, or single records. The truth about them is not in it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

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


@dataclass(frozen=True, kw_only=True)
class AttributeNeeds:
    """What an attack on a record's attribute has to be given.

    Attributes:
        attribute, group: a sensitive attribute of the data, and the one of its groups that is asked for.
        records: that are asked about.
        shadows: records of the adversary's own, as far as there are so many half of them of the group.
        model: that clients start from: the one that the run begins with, or the one that it ends with.
    """

    attribute: str
    group: str
    records: int
    shadows: int
    model: Literal["initial", "final"]


@dataclass(frozen=True, kw_only=True, eq=False)
class AttributeObservation:
    """Messages of clients that each hold one record.

    Attributes:
        messages: of those that are asked about (n, d), up to a public factor.
        shadow_messages: of records of the adversary's own, from the same global model (m, d).
        shadow_has: whether those are of the group: (k, m), as in `PropertyRound`.
    """

    messages: torch.Tensor
    shadow_messages: torch.Tensor
    shadow_has: BoolArray


class AttributeAttack(ABC):
    """Says of each record how likely it seems to be of a group."""

    @property
    @abstractmethod
    def needs(self) -> AttributeNeeds:
        """What it has to be given."""

    @abstractmethod
    def log_odds(self, seen: AttributeObservation) -> FloatArray:
        """Of the group, by answer and record (k, n); above 0: rather of it."""
