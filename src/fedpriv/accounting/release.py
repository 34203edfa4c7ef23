"""One release about a unit, as an accountant sees it.

Light on purpose: importing this module imports no accounting library.
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from typing import Any, Literal, Protocol, Self

Sampling = Literal["poisson", "capped_poisson", "fixed_size", "all"]
Relation = Literal["add_or_remove_one", "replace_one", "zero_out"]
Accountant = Literal["pld", "rdp", "prv", "opacus_rdp"]


class Release(ABC):
    """A noisy sum over a random sample; a frozen dataclass, ordered among its own kind.

    Epsilon of any of them falls as ``noise_multiplier`` grows, and grows with ``rate``.

    Attributes:
        noise_multiplier: standard deviation of the noise / what one unit's addend is clipped to.
        sampling, rate: how units come into the sum, and the chance of one to be in it.
        population, cohort: of samplings whose price depends on them; else 0.
    """

    noise_multiplier: float
    sampling: Sampling
    rate: float
    population: int
    cohort: int

    @property
    @abstractmethod
    def shape(self) -> Hashable:
        """All but noise multiplier and rate."""

    @abstractmethod
    def sensitivity(self, relation: Relation) -> float:
        """How far neighbours can move the sum, in clipping norms."""

    @abstractmethod
    def unsampled(self) -> "Release":
        """The same sum over everybody: of use where it is known who is in it."""


class Loss(Protocol):
    """What several releases tell of one unit together; neither value is below the truth."""

    @property
    def method(self) -> str:
        """Which bound it is, in words."""
        ...

    def epsilon(self, delta: float) -> float: ...

    def fast_epsilon(self, delta: float) -> float:
        """The same or larger, in milliseconds."""
        ...

    def deltas(self, epsilons: Any) -> Any:
        """Of an array of epsilons, shape (n,)."""
        ...


class OwnRelease(Release):
    """A release of another law than the Gaussian, never sampled: its kind knows how it composes."""

    def sensitivity(self, relation: Relation) -> float:
        return 2.0 if relation == "replace_one" else 1.0

    def unsampled(self) -> Self:
        return self

    @classmethod
    @abstractmethod
    def loss(cls, composition: "tuple[tuple[Self, int], ...]", relation: Relation) -> Loss:
        """Of releases of this kind, each with how often it happened, none without noise.

        Raises:
            ConfigError: no bound is known under this relation.
        """


Composition = Mapping[Release, int]
"""Releases by the same curator about the same units, each with how often it happened."""
