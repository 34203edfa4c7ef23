"""Poisson batches: the coins that example-level amplification rests on, drawn and accounted by one object."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class PoissonBatches:
    """Every example flips its own coin at every step.

    Args:
        batch_size: expected examples of a batch, at most the client's size.
        local_epochs: a participation takes local_epochs * ceil(client size / batch_size) steps.
    """

    batch_size: int
    local_epochs: int

    def rate(self, num_examples: int) -> float:
        """Chance of one example to be in one batch: min(1, batch_size / num_examples), and 1 where there is none."""
        return min(1.0, self.batch_size / max(num_examples, 1))

    def steps(self, num_examples: int) -> int:
        """Noisy steps of one participation; none without examples."""
        return self.local_epochs * math.ceil(num_examples / self.batch_size)

    def expected_size(self, num_examples: int) -> float:
        """Public divisor of a noisy sum: rate * num_examples."""
        return self.rate(num_examples) * num_examples

    def plan(self, coins: Callable[[], np.random.Generator], num_examples: int) -> Iterator[np.ndarray]:
        """Sorted indices (int64) of each step's batch, which may be empty."""
        rng, rate = coins(), self.rate(num_examples)
        for _ in range(self.steps(num_examples)):
            yield np.flatnonzero(rng.random(num_examples) < rate)
