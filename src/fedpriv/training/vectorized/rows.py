"""Layers whose gradients of single examples are written out."""

from abc import ABC

import torch
from torch import nn

from .layer import Stack, StackedLayer
from .products import weighted_sum


class RowsLayer(StackedLayer, ABC):
    """Keeps every example's gradient of every parameter, (K, B, *shape); calls add up."""

    def __init__(self, stack: Stack, layer: nn.Module) -> None:
        super().__init__(stack, layer)
        self._rows: dict[str, torch.Tensor] = {}

    def keep(self, rows: dict[str, torch.Tensor]) -> None:
        self._rows = {name: self._rows[name] + row if name in self._rows else row for name, row in rows.items()}

    @property
    def took_part(self) -> bool:
        return bool(self._rows)

    def forget(self) -> None:
        self._rows = {}

    def discard(self, bad: torch.Tensor) -> None:
        self._rows = {
            name: rows.masked_fill(bad.reshape(*bad.shape, *[1] * (rows.dim() - 2)), 0.0)
            for name, rows in self._rows.items()
        }

    def square_norms(self) -> torch.Tensor:
        squares = [rows.reshape(*rows.shape[:2], -1).square().sum(dim=2) for rows in self._rows.values()]
        return torch.stack(squares).sum(dim=0)

    def gradients(self, weights: torch.Tensor | None) -> dict[str, torch.Tensor]:
        if weights is None:
            return {name: rows.sum(dim=1) for name, rows in self._rows.items()}
        return {name: weighted_sum(weights, rows) for name, rows in self._rows.items()}
