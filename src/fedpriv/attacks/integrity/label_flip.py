"""Labels of one class flipped to another."""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch

from fedpriv.errors import ConfigError

from .tampering import Boost, Facts, Tampering, boosted, check_boost, check_label


@final
@dataclass(frozen=True, kw_only=True)
class LabelFlip(Tampering):
    """Attackers call every example of a class another class (Tolpegin, Truex, Gursoy & Liu 2020).

    Success: share of the class's test examples that are taken for the other.

    Args:
        source, target: labels.
        boost: what updates are multiplied by.
    """

    source: int
    target: int
    boost: Boost

    def __post_init__(self) -> None:
        super().__post_init__()
        check_boost(self.boost)
        if self.source == self.target:
            raise ConfigError(f"source={self.source} and target={self.target} are one label: nothing would be flipped.")

    def check(self, facts: Facts) -> None:
        check_label("source", self.source, facts)
        check_label("target", self.target, facts)

    def examples(
        self, x: torch.Tensor, y: torch.Tensor, *, facts: Facts, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return x, torch.where(y == self.source, self.target, y)

    def factor(self, *, replacing: float) -> float:
        return boosted(self.boost, replacing=replacing)

    def shown(self, x: torch.Tensor, y: torch.Tensor, *, facts: Facts) -> tuple[torch.Tensor, torch.Tensor]:
        return x[y == self.source], y[y == self.source]

    def hit(self, predicted: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return predicted == self.target
