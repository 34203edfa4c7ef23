"""Updates of honest training that are sent too large, or backwards."""

import math
from dataclasses import dataclass
from typing import final

import torch

from fedpriv.errors import ConfigError

from .tampering import Boost, Facts, Tampering, boosted, check_boost


@dataclass(frozen=True, kw_only=True)
class _Untargeted(Tampering):
    """Success: share of the test examples that are not taken for what they are."""

    def shown(self, x: torch.Tensor, y: torch.Tensor, *, facts: Facts) -> tuple[torch.Tensor, torch.Tensor]:
        return x, y

    def hit(self, predicted: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return predicted != y


@final
@dataclass(frozen=True, kw_only=True)
class Boosted(_Untargeted):
    """Attackers send their update many times as long (Bhagoji, Chakraborty, Mittal & Calo 2019: explicit boosting).

    Args:
        boost: how many times.
    """

    boost: Boost

    def __post_init__(self) -> None:
        super().__post_init__()
        check_boost(self.boost)

    def factor(self, *, replacing: float) -> float:
        return boosted(self.boost, replacing=replacing)


@final
@dataclass(frozen=True, kw_only=True)
class SignFlip(_Untargeted):
    """Attackers send the opposite of their update (Li, Xu, Chen, Giannakis & Ling 2019, "RSA").

    Args:
        scale: its length, in lengths of the update.
    """

    scale: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.scale < math.inf:
            raise ConfigError(f"scale={self.scale} must be a positive number.")

    def factor(self, *, replacing: float) -> float:
        return -self.scale
