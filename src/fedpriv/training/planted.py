"""Places among a client's examples that an auditor holds: what their own gradients are replaced by.

A place is drawn into batches by its own coin, as any example is, and counts in sizes, rates, divisors and noise. Only
what it adds to a step's sum of clipped gradients is the auditor's. So a place that adds nothing is exactly an example
that is not there, under the relation that the ledger's releases are judged by.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
import torch


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class SparseGradient:
    """A vector (d,) that is zero but at some coordinates.

    Args:
        coordinates: int64 (s,), all different.
        values: float32 (s,).
    """

    coordinates: np.ndarray
    values: np.ndarray


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Planted:
    """Of one client.

    Args:
        silent: indices of the client's examples (int64) whose own gradients count as zero.
        gradients: index -> what it adds to the sum of clipped gradients of every step that draws it; no longer than
            an example's gradient may be.
    """

    silent: np.ndarray
    gradients: Mapping[int, SparseGradient]

    def heard(self, batch: np.ndarray) -> np.ndarray:
        """Those of a batch whose own gradients count."""
        return batch[~np.isin(batch, self.silent)]

    def added(self, batches: Iterator[np.ndarray], *, size: int) -> Iterator[torch.Tensor | None]:
        """What the places of each batch add, float32 (size,); None for nothing."""
        for batch in batches:
            drawn = batch[np.isin(batch, self._adding)].tolist()
            yield self._sum(drawn, size=size) if drawn else None

    @cached_property
    def _adding(self) -> np.ndarray:
        return np.fromiter(self.gradients, dtype=np.int64)

    def _sum(self, drawn: list[int], *, size: int) -> torch.Tensor:
        total = np.zeros(size, dtype=np.float32)
        for index in drawn:
            found = self.gradients[index]
            total[found.coordinates] += found.values
        return torch.from_numpy(total)
