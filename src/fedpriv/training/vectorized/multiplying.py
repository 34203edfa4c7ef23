"""What stacked Linear and convolution layers share: gradients that are sums of products."""

from abc import ABC

import torch

from .layer import StackedLayer
from .products import Products


class MultiplyingLayer(StackedLayer[Products], ABC):
    """Keeps inputs and output gradients of every call."""

    method = "book-keeping"

    @property
    def positions(self) -> int:
        """In how many places of one example it was applied since ``forget``."""
        return sum(kept.inputs.shape[2] for kept in self.kept)

    def discard(self, bad: torch.Tensor) -> None:
        self.kept = [kept.without(bad) for kept in self.kept]

    def square_norms(self) -> torch.Tensor:
        return self._products().square_norms(bias="bias" in self.shapes)

    def gradients(self, weights: torch.Tensor | None) -> dict[str, torch.Tensor]:
        products = self._products()
        found = {"weight": self.in_shape(products.weight_gradient(weights))}
        if "bias" in self.shapes:
            found["bias"] = products.bias_gradient(weights)
        return found

    def in_shape(self, gradient: torch.Tensor) -> torch.Tensor:
        """A weight's gradient, (K, O, I), as (K, *shape)."""
        return gradient.reshape(-1, *self.shapes["weight"])

    def _products(self) -> Products:
        self.kept = [Products.joined(self.kept)]
        return self.kept[0]
