"""What is learned: the loss that training minimises and the metrics that evaluation reports."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch.nn import functional


class Task(Protocol):
    """A supervised task over batches of outputs and targets."""

    def loss_sum(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Sum of the examples' losses (0-d); a sum, so that per-example gradients exist."""
        ...

    def correct(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """How many examples are predicted right (0-d)."""
        ...


@dataclass(frozen=True)
class Classification:
    """Cross-entropy and accuracy. Outputs are logits (n, classes), targets int64 (n,)."""

    def loss_sum(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(outputs, targets, reduction="sum")

    def correct(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (outputs.argmax(dim=1) == targets).sum()
