"""Batches of plain training: every epoch shuffled, and cut."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class ShuffledBatches:
    """Each epoch's examples in random order; an epoch's last batch may be smaller.

    Args:
        batch_size: examples of a batch.
        local_epochs: passes over the client's data.
    """

    batch_size: int
    local_epochs: int

    def plan(self, coins: Callable[[], np.random.Generator], num_examples: int) -> Iterator[np.ndarray]:
        """Indices (int64) of each step's batch; no coin is tossed where one batch holds everything."""
        if num_examples == 0:
            return
        if num_examples <= self.batch_size:
            yield from [np.arange(num_examples)] * self.local_epochs
            return
        rng = coins()
        for _ in range(self.local_epochs):
            order = rng.permutation(num_examples)
            for start in range(0, num_examples, self.batch_size):
                yield order[start : start + self.batch_size]
