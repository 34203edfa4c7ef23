"""Layers whose gradients of single examples are written out."""

from abc import ABC

import torch

from .layer import StackedLayer
from .products import weighted_sum


class RowsLayer(StackedLayer[dict[str, torch.Tensor]], ABC):
    """Keeps every example's gradient of every parameter, (K, B, *shape); passes add up."""

    def keep(self, found: dict[str, torch.Tensor]) -> None:
        if not self.kept:
            super().keep(found)
        else:
            self.kept = [{name: rows + found[name] for name, rows in self._rows.items()}]

    def discard(self, bad: torch.Tensor) -> None:
        self.kept = [
            {
                name: rows.masked_fill(bad.reshape(*bad.shape, *[1] * (rows.dim() - 2)), 0.0)
                for name, rows in self._rows.items()
            }
        ]

    def square_norms(self) -> torch.Tensor:
        squares = [rows.reshape(*rows.shape[:2], -1).square().sum(dim=2) for rows in self._rows.values()]
        return torch.stack(squares).sum(dim=0)

    def gradients(self, weights: torch.Tensor | None) -> dict[str, torch.Tensor]:
        if weights is None:
            return {name: rows.sum(dim=1) for name, rows in self._rows.items()}
        return {name: weighted_sum(weights, rows) for name, rows in self._rows.items()}

    @property
    def _rows(self) -> dict[str, torch.Tensor]:
        return self.kept[0]
