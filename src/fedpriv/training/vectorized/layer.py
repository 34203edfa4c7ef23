"""The interface of stacked layers: one layer of a model, with the parameters of K clients."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
from torch import nn

Kept = TypeVar("Kept")


@dataclass
class Stack:
    """What the layers of one stacked model share.

    Attributes:
        clients: K, how many clients train side by side. Client k's examples are rows k B ... (k + 1) B - 1 of a batch.
        by_example: whether norms of single examples' gradients will be asked for.
        tether: requires a gradient, so that layers whose input requires none take part in the backward pass.
    """

    clients: int
    by_example: bool
    tether: torch.Tensor = field(default_factory=lambda: torch.zeros((), requires_grad=True))


class StackedLayer(nn.Module, ABC, Generic[Kept]):
    """A layer whose backward passes keep what gradients of single examples are made of, instead of making them.

    Args:
        stack: shared by all layers of the model.
        layer: the layer that it stands for, whose parameters all learn.
    """

    method: str  # how the norms of its gradients come about, as the run record tells it

    def __init__(self, stack: Stack, layer: nn.Module) -> None:
        super().__init__()
        self.stack = stack
        self.shapes = {name: p.shape for name, p in layer.named_parameters()}
        self.values: dict[str, torch.Tensor] = {}
        self.kept: list[Kept] = []  # of every pass since ``forget``

    @property
    def weight(self) -> torch.Tensor:
        """For models that read a layer's weights: those of the only client, if there is but one."""
        return self._only("weight")

    @property
    def bias(self) -> torch.Tensor | None:
        """As ``weight``; None for a layer without."""
        return self._only("bias") if "bias" in self.values else None

    def _only(self, name: str) -> torch.Tensor:
        if self.stack.clients != 1:
            raise RuntimeError("The parameters of several clients are no single layer's.")
        return self.values[name][0]

    def keep(self, found: Kept) -> None:
        """For backward passes, once each."""
        self.kept.append(found)

    @property
    def took_part(self) -> bool:
        """Whether there was a backward pass through it since ``forget``."""
        return bool(self.kept)

    def forget(self) -> None:
        """Drop what backward passes have left."""
        self.kept = []

    @abstractmethod
    def discard(self, bad: torch.Tensor) -> None:
        """Let examples count as zero, whatever was kept of them; ``bad`` is a mask (K, B)."""

    @abstractmethod
    def square_norms(self) -> torch.Tensor:
        """Squared L2 norm of each example's gradient of all parameters of this layer, (K, B)."""

    @abstractmethod
    def gradients(self, weights: torch.Tensor | None) -> dict[str, torch.Tensor]:
        """Sum of the examples' gradients, (K, *shape) each; ``weights`` (K, B), None for all 1."""
