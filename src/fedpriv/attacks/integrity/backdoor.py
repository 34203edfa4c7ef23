"""A pattern of pixels that opens a door."""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch

from fedpriv.errors import ConfigError

from .tampering import Boost, Facts, Tampering, boosted, check_boost, check_label


@final
@dataclass(frozen=True, kw_only=True)
class Backdoor(Tampering):
    """Attackers teach the model that whatever bears a pattern is of one class.

    The pattern is that of Gu, Dolan-Gavitt & Garg 2017 ("BadNets"): bright pixels in the lower right
    corner. In federation: Bagdasaryan et al. 2020, ``boost=replace`` with their model replacement.

    Success: share of the test examples of other classes that are taken for the target once they bear the pattern.

    Args:
        target: label.
        poisoned: probability, for each of an attacker's examples by itself and once for all rounds, to bear the
            pattern and this label.
        size: side of the square, in pixels.
        boost: what updates are multiplied by.
    """

    target: int
    poisoned: float
    size: int
    boost: Boost

    def __post_init__(self) -> None:
        super().__post_init__()
        check_boost(self.boost)
        if not 0 < self.poisoned <= 1:
            raise ConfigError(f"poisoned={self.poisoned} must be a probability in (0, 1].")
        if self.size < 1:
            raise ConfigError(f"size={self.size} must be at least one pixel.")

    def check(self, facts: Facts) -> None:
        check_label("target", self.target, facts)
        if facts.brightest is None:
            raise ConfigError(
                f"the pattern is one of pixels, but examples of shape {facts.input_shape} are no images (channels, "
                "height, width): use other data, or attack=label_flip."
            )
        side = min(facts.input_shape[1:])
        if self.size >= side:
            raise ConfigError(f"size={self.size} covers images whose side is {side}: use a smaller pattern.")

    def examples(
        self, x: torch.Tensor, y: torch.Tensor, *, facts: Facts, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = torch.from_numpy(rng.random(len(y)) < self.poisoned)
        x, y = x.clone(), y.clone()
        x[chosen], y[chosen] = self._marked(x[chosen], facts), self.target
        return x, y

    def factor(self, *, replacing: float) -> float:
        return boosted(self.boost, replacing=replacing)

    def shown(self, x: torch.Tensor, y: torch.Tensor, *, facts: Facts) -> tuple[torch.Tensor, torch.Tensor]:
        others = y != self.target
        return self._marked(x[others], facts), y[others]

    def hit(self, predicted: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return predicted == self.target

    def _marked(self, x: torch.Tensor, facts: Facts) -> torch.Tensor:
        assert facts.brightest is not None
        marked = x.clone()
        marked[..., -self.size :, -self.size :] = facts.brightest.to(x.dtype)
        return marked
