"""Encoders of correlated noise: lower-triangular matrices C, whose rows are sums with noise of their own.

Denisov, McMahan, Rush, Smith & Thakurta 2022: where x_i is the clipped sum of round i, ``C x + z`` is released with
independent noise z; what a round of training gets is ``x + C^-1 z``, from which all of ``C x + z`` follows and back.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, final

import numpy as np

from fedpriv.accounting.tree import span

Draw = Callable[[int], np.ndarray]
"""Round of a group (from 1) -> its z, shape (d,), the same whenever it is asked."""
Memory = dict[int, np.ndarray]
"""Round of a group -> a row of C^-1 z, kept in this process only: whoever knew it could take the noise away."""


class Encoder(Protocol):
    """A matrix C over the rounds of a group, and what C^-1 makes of noise."""

    def row(self, index: int, length: int) -> np.ndarray:
        """Row ``index`` (from 1) up to its diagonal, without leading zeros; of a group of ``length`` rounds."""
        ...

    def correlated(self, index: int, length: int, draw: Draw, memory: Memory) -> np.ndarray:
        """Row ``index`` of C^-1 z, shape (d,); ``memory``, of earlier rows of the group, only saves time."""
        ...


@final
@dataclass(frozen=True)
class TreeEncoder:
    """The sums that a binary tree releases: after round i those of its last ``span(i)`` rounds.

    Dwork et al. 2010; Chan et al. 2011; for learning Kairouz et al. 2021 (arXiv 2103.00039), Algorithm 1.
    """

    def row(self, index: int, length: int) -> np.ndarray:
        return np.ones(span(index))

    def correlated(self, index: int, length: int, draw: Draw, memory: Memory) -> np.ndarray:
        """The new sum's noise, less that of the sums which it takes the place of: two draws a round on average."""
        noise, end = draw(index), index - 1
        while end > index - span(index):
            noise = noise - draw(end)
            end -= span(end)
        return noise


@final
@dataclass(frozen=True)
class BandedEncoder:
    """Square root of the prefix sum's matrix, cut to ``bands`` diagonals, its columns of norm 1.

    Coefficients binom(2j, j) / 4^j (Henzinger, Upadhyay & Upadhyay 2023), banded: Choquette-Choo et al. 2023 (arXiv
    2306.08153), Kalinin & Lampert 2024 (arXiv 2405.13763). Rounds at least ``bands`` apart share no row, so that a
    client that takes part in no two closer ones moves C x by the norm of one addend a time.
    """

    bands: int

    def row(self, index: int, length: int) -> np.ndarray:
        first = max(1, index - self.bands + 1)
        return np.array([self._coefficients[index - j] / self._norm(j, length) for j in range(first, index + 1)])

    def correlated(self, index: int, length: int, draw: Draw, memory: Memory) -> np.ndarray:
        """By the recurrence ``y_i = (z_i - sum of C_ij y_j) / C_ii``; from round 1, where the last is unknown."""
        if max(memory, default=0) != index - 1:
            memory.clear()
        for i in range(max(memory, default=0) + 1, index + 1):
            row, noise = self.row(i, length), draw(i)
            for j, weight in enumerate(row[:-1], start=i - len(row) + 1):
                noise = noise - weight * memory[j]
            memory[i] = noise / row[-1]
            memory.pop(i - self.bands, None)
        return memory[index]

    @cached_property
    def _coefficients(self) -> np.ndarray:
        j = np.arange(1, self.bands)
        return np.concatenate([[1.0], np.cumprod((2 * j - 1) / (2 * j))])

    def _norm(self, column: int, length: int) -> float:
        return math.sqrt(float((self._coefficients[: length - column + 1] ** 2).sum()))
