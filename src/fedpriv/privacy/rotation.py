"""A random rotation that spreads a vector evenly over its coordinates, so that sums fit a small modulus."""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
import torch


def padded(size: int) -> int:
    """The power of two that a vector of ``size`` numbers is filled up to."""
    return 1 << max(0, (size - 1).bit_length())


@final
@dataclass(frozen=True)
class Rotation:
    """Random signs, then a Walsh-Hadamard transform of norm 1 (Ailon & Chazelle 2006); public, and keeps every L2 norm.

    Args:
        seed: of the signs.
    """

    seed: int

    def there(self, vectors: torch.Tensor) -> torch.Tensor:
        """(n, size) -> (n, padded(size)), float64."""
        size = vectors.shape[-1]
        filled = torch.zeros(*vectors.shape[:-1], padded(size), dtype=torch.float64)
        filled[..., :size] = vectors
        return _transformed(filled * self._signs(filled.shape[-1]))

    def back(self, vectors: torch.Tensor, *, size: int) -> torch.Tensor:
        """(n, padded(size)) -> (n, size), float64."""
        return (_transformed(vectors) * self._signs(vectors.shape[-1]))[..., :size]

    def _signs(self, size: int) -> torch.Tensor:
        rng = np.random.Generator(np.random.Philox(self.seed))
        return torch.from_numpy(rng.integers(0, 2, size=size).astype(np.float64) * 2 - 1)


def _transformed(vectors: torch.Tensor) -> torch.Tensor:
    """The Walsh-Hadamard transform along the last axis, its own inverse."""
    shape, size = vectors.shape, vectors.shape[-1]
    half = 1
    while half < size:
        pairs = vectors.reshape(*shape[:-1], size // (2 * half), 2, half)
        left, right = pairs[..., 0, :], pairs[..., 1, :]
        vectors = torch.stack([left + right, left - right], dim=-2).reshape(shape)
        half *= 2
    return vectors / math.sqrt(size)
