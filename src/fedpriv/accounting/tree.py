"""Rounds of a binary tree of noise: one Gaussian release of all sums that the tree holds.

After round i a tree (Dwork, Naor, Pitassi & Rothblum 2010; Chan, Shi & Song 2011) releases the sum of one span of
rounds, the largest power of two of them that ends with i and divides i. Every prefix sum is a sum of such spans.
"""

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from fedpriv.errors import ConfigError

from .gaussian_dp import GaussianLoss
from .release import OwnRelease, Relation, Sampling


def span(index: int) -> int:
    """Rounds whose sum is released after round ``index`` (from 1) of a tree."""
    return index & -index


def squared_sensitivity(counts: npt.NDArray[np.int64]) -> int:
    """Squared L2 norm of how far one unit moves all released sums together.

    Args:
        counts: addends of the unit in each round of the tree, shape (rounds,), each of norm 1 and all alike: since no
            sum has a negative weight, no others move more (Choquette-Choo et al. 2023, section 3).
    """
    before = np.concatenate([[0], np.cumsum(counts)])
    ends = np.arange(1, len(counts) + 1)
    sums = before[ends] - before[ends - (ends & -ends)]
    return int((sums**2).sum())


@final
@dataclass(frozen=True, order=True, kw_only=True)
class TreeRound(OwnRelease):
    """One round of a tree of the rounds ``first_round`` to ``last_round``, of one attempt.

    Args:
        noise_multiplier: standard deviation of the noise of one sum / clipping norm.

    Raises:
        ConfigError: a round outside its tree, or a sampled one.
    """

    noise_multiplier: float
    first_round: int
    last_round: int
    attempt: int
    round: int
    sampling: Sampling = "all"
    rate: float = 1.0
    population: int = 0
    cohort: int = 0

    def __post_init__(self) -> None:
        if not self.noise_multiplier >= 0:
            raise ConfigError(f"noise multiplier {self.noise_multiplier} must be at least 0")
        if not 1 <= self.first_round <= self.round <= self.last_round:
            raise ConfigError(f"round {self.round} is none of a tree's {self.first_round} to {self.last_round}")
        if self.sampling != "all" or self.rate != 1:
            raise ConfigError("a tree of noise is accounted without sampling: its rounds share their noise")

    @property
    def shape(self) -> Hashable:
        return "tree", self.first_round, self.last_round, self.attempt, self.round

    @classmethod
    def loss(cls, composition: "tuple[tuple[TreeRound, int], ...]", relation: Relation) -> GaussianLoss:
        """Trees have noise of their own each; within one, all sums are one vector.

        Where noise multipliers differ (a corner of several), the smallest counts.
        """
        trees: dict[tuple[int, int, int], dict[int, int]] = defaultdict(lambda: defaultdict(int))
        for release, times in composition:
            trees[release.first_round, release.last_round, release.attempt][release.round] += times
        least = min(release.noise_multiplier for release, _ in composition)
        total = 0
        for (first, last, _), rounds in trees.items():
            counts = np.zeros(last - first + 1, dtype=np.int64)
            for number, times in rounds.items():
                counts[number - first] = times
            total += squared_sensitivity(counts)
        return GaussianLoss(composition[0][0].sensitivity(relation) * float(np.sqrt(total)) / least)
