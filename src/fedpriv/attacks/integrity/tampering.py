"""What a malicious client may change: its examples before it trains, its update before the mechanism's client half."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from fedpriv.errors import ConfigError

Boost = float | Literal["replace"]
"""What an attacker's update is multiplied by; ``replace``: so much that the cohort's mean becomes the attackers' model
(model replacement: Bagdasaryan, Veit, Hua, Estrin & Shmatikov 2020, "How To Backdoor Federated Learning", eq. 3)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Facts:
    """What is public of an experiment, and an attacker builds on.

    Attributes:
        num_classes: of the labels.
        input_shape: of one example; (channels, height, width) for images.
        brightest: what a pixel of full brightness is after normalisation, (channels, 1, 1); None: no images.
    """

    num_classes: int
    input_shape: tuple[int, ...]
    brightest: torch.Tensor | None


@dataclass(frozen=True, kw_only=True)
class Tampering(ABC):
    """Malicious clients of one kind, and what they want.

    A client that is no attacker, and everything that the mechanism does to an update, stays as it is.

    Args:
        attackers: how many (an int), or a share in [0, 1] (a float) of the clients that hold data, rounded up.
    """

    attackers: int | float

    def __post_init__(self) -> None:
        if not 0 <= self.attackers <= (1 if isinstance(self.attackers, float) else math.inf):
            raise ConfigError(
                f"attackers={self.attackers} must be a number of clients (0, 1, 2, ...) or a share of them (0.2, 1.0)."
            )

    def count(self, population: int) -> int:
        """How many of so many clients.

        Raises:
            ConfigError: more than there are.
        """
        if isinstance(self.attackers, float):
            return math.ceil(round(self.attackers * population, 9))  # 0.07 of 100 is 7.000000000000001
        if self.attackers > population:
            raise ConfigError(f"attackers={self.attackers} are more than the {population} clients that hold data.")
        return self.attackers

    def check(self, facts: Facts) -> None:  # noqa: B027 - most ask for nothing
        """Raise ConfigError where these examples cannot be tampered with so."""

    def examples(
        self, x: torch.Tensor, y: torch.Tensor, *, facts: Facts, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """An attacker's examples (n, *input_shape) and labels (n,), newly allocated: as many as before, in their order.

        What becomes of an example depends on it and on coins of its own, never on other examples: else one of them
        more would change many, and local steps that protect an example would protect none.
        """
        return x, y

    @abstractmethod
    def factor(self, *, replacing: float) -> float:
        """What an attacker's update is multiplied by.

        Args:
            replacing: the expected weight of a cohort over that of the attackers in it.
        """

    @abstractmethod
    def shown(self, x: torch.Tensor, y: torch.Tensor, *, facts: Facts) -> tuple[torch.Tensor, torch.Tensor]:
        """Test examples, without those that say nothing, as attackers show them to the model; and their true labels."""

    @abstractmethod
    def hit(self, predicted: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Whether each of those is classified as the attackers want it (bool, (n,))."""


def boosted(boost: Boost, *, replacing: float) -> float:
    """The factor that a boost means."""
    return replacing if boost == "replace" else float(boost)


def check_boost(boost: Boost) -> None:
    if boost != "replace" and not 0 < float(boost) < math.inf:
        raise ConfigError(f"boost={boost} must be a positive number (1: the update as it is), or replace.")


def check_label(name: str, label: int, facts: Facts) -> None:
    if not 0 <= label < facts.num_classes:
        raise ConfigError(f"{name}={label} is no label: there are 0 to {facts.num_classes - 1}.")
