"""Gradients of one layer that multiplies: sums over positions of (gradient of the output) x (input).

For Linear, and for convolutions whose input is unfolded into patches, example i's gradient is
``sum_t g[i, t] a[i, t]^T``. Its norm needs no gradient where there is one position (Goodfellow 2015), nor where
positions are few next to the layer's size (Bu et al. 2022, "Scalable and Efficient Training of Large Convolutional
Neural Networks with Differential Privacy", section 4: ghost norms).

Shapes: K clients, B examples of each, T positions, I inputs, O outputs.
"""

from dataclasses import dataclass
from functools import cached_property

import torch

_MOST_NUMBERS = 2**25  # of all examples' gradients together: more are not written out
_MOST_CANCELLATION = 256  # 2^-24 of it, float32's rounding, is 1.5e-5


@dataclass(frozen=True)
class Products:
    """What a backward pass leaves of a multiplying layer.

    Args:
        inputs: (K, B, T, I).
        grads: gradient of the loss with respect to the outputs, (K, B, T, O).
    """

    inputs: torch.Tensor
    grads: torch.Tensor

    @staticmethod
    def joined(parts: "list[Products]") -> "Products":
        """One layer called several times: its positions one after another."""
        if len(parts) == 1:
            return parts[0]
        return Products(torch.cat([p.inputs for p in parts], dim=2), torch.cat([p.grads for p in parts], dim=2))

    def square_norms(self, *, bias: bool) -> torch.Tensor:
        """Squared L2 norm of each example's gradient, (K, B)."""
        squares = self._square_norms_of_weight()
        return squares + self._bias_rows.square().sum(dim=2) if bias else squares

    def weight_gradient(self, weights: torch.Tensor | None) -> torch.Tensor:
        """Sum over examples, (K, O, I); ``weights`` (K, B), None for all 1."""
        if weights is None:
            return _summed_products(self.grads, self.inputs)
        if self._written_out:
            return weighted_sum(weights, self._rows)
        return _summed_products(self.grads * weights[:, :, None, None], self.inputs)

    def bias_gradient(self, weights: torch.Tensor | None) -> torch.Tensor:
        """As ``weight_gradient``, (K, O)."""
        if weights is None:
            return self.grads.sum(dim=(1, 2))
        return weighted_sum(weights, self._bias_rows)

    def without(self, bad: torch.Tensor) -> "Products":
        """The same, but zero for the examples of the mask ``bad`` (K, B), whatever was there."""
        return Products(*(values.masked_fill(bad[:, :, None, None], 0.0) for values in (self.inputs, self.grads)))

    @cached_property
    def _bias_rows(self) -> torch.Tensor:
        """Every example's gradient of the bias, (K, B, O)."""
        return self.grads.sum(dim=2)

    @cached_property
    def _rows(self) -> torch.Tensor:
        """Every example's gradient, (K, B, O, I)."""
        clients, batch = self.inputs.shape[:2]
        rows = torch.bmm(self.grads.flatten(0, 1).mT, self.inputs.flatten(0, 1))
        return rows.view(clients, batch, *rows.shape[1:])

    @property
    def _written_out(self) -> bool:
        """Whether norms are those of written gradients; their sum is then of the same, rounding included."""
        clients, batch, positions, width = self.inputs.shape
        size = width * self.grads.shape[3]
        few = 2 * positions * (width + self.grads.shape[3]) < size
        return positions > 1 and not few and clients * batch * size <= _MOST_NUMBERS

    def _square_norms_of_weight(self) -> torch.Tensor:
        # in float64: long sums lose digits in float32, and a norm that is too small clips too little
        if self._written_out:
            lengths = torch.linalg.vector_norm(self._rows, dim=(2, 3), dtype=torch.float64)
        elif self.inputs.shape[2] == 1:
            lengths = torch.linalg.vector_norm(self.inputs, dim=(2, 3), dtype=torch.float64)
            lengths = lengths * torch.linalg.vector_norm(self.grads, dim=(2, 3), dtype=torch.float64)
        else:
            return _by_gram(self.inputs, self.grads)
        squares: torch.Tensor = lengths.square().to(self.inputs.dtype)
        return squares


def weighted_sum(weights: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Sum over examples, (K, ...), of ``rows`` (K, B, ...) times ``weights`` (K, B)."""
    return torch.bmm(weights[:, None], rows.reshape(*rows.shape[:2], -1)).view(len(rows), *rows.shape[2:])


def _summed_products(grads: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    return torch.bmm(grads.flatten(1, 2).mT, inputs.flatten(1, 2))


def no_less(squares: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Squared norms of sums of parts, but none so small next to the parts that rounding could exceed it.

    The sum over examples is a float32 one of all their parts, so what cancels within an example still rounds. Where
    its parts are more than 256 times as long as their sum, the example counts as if they were 256 times as long: it
    is clipped more, and its parts are at most 256 clipping norms long.

    Args:
        squares: of the exact sums, float64.
        lengths: sum of the parts' L2 norms, float64.
    """
    return torch.maximum(squares, (lengths / _MOST_CANCELLATION).square())


def _by_gram(inputs: torch.Tensor, grads: torch.Tensor) -> torch.Tensor:
    """sum_{t, s} <a_t, a_s> <g_t, g_s>, in float64: terms cancel, and a norm that is too small clips too little."""
    a, g = (values.flatten(0, 1).double() for values in (inputs, grads))
    squares = (torch.bmm(a, a.mT) * torch.bmm(g, g.mT)).sum(dim=(1, 2))
    squares = no_less(squares, (a.norm(dim=2) * g.norm(dim=2)).sum(dim=1))
    return squares.to(inputs.dtype).view(inputs.shape[:2])
