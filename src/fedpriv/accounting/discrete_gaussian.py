"""A sum of discrete Gaussian shares: what it tells of one addend (Kairouz, Liu & Steinke 2021, arXiv 2102.06387)."""

import math
from collections.abc import Hashable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, final

import numpy as np

from fedpriv.errors import ConfigError

from .release import OwnRelease, Relation, Sampling

_LEAST_VARIANCE = 0.5  # of a share, from which the paper's bound on sums of shares holds
_ORDERS = np.concatenate([1 + np.geomspace(1e-3, 1, 60), np.linspace(2.1, 64, 400), np.geomspace(65, 1e5, 200)])
REJECTED = math.exp(-0.5)
"""beta of the paper: at most this share of roundings is drawn again."""


def rounded_norm(norm: float, dimension: int) -> float:
    """L2 norm, in grid steps, that conditional randomised rounding keeps of a vector of at most ``norm`` grid steps.

    The paper's equation (1), with beta = ``REJECTED``.
    """
    likely = norm**2 + dimension / 4 + math.sqrt(2 * math.log(1 / REJECTED)) * (norm + math.sqrt(dimension) / 2)
    return math.sqrt(min(likely, (norm + math.sqrt(dimension)) ** 2))


def sum_gap(share_variance: float, shares: int) -> float:
    """tau of the paper's Theorem 5: how far a sum of shares is from a discrete Gaussian of the whole variance."""
    k = np.arange(1, max(2, min(shares, 10_000)))  # later terms are as the last one, to float64
    terms = np.exp(-2 * math.pi**2 * share_variance * k / (k + 1))
    rest = max(0, shares - 1 - len(k)) * math.exp(-2 * math.pi**2 * share_variance * k[-1] / (k[-1] + 1))
    return 10 * (float(terms.sum()) + rest) if shares > 1 else 0.0


@final
@dataclass(frozen=True, order=True, kw_only=True)
class SumOfShares(OwnRelease):
    """One modular sum of integer vectors, each with a share of the noise.

    Args:
        noise_multiplier: standard deviation of the least noise (of ``survivors`` shares) / ``norm``.
        norm: L2 norm, in grid steps, of one addend.
        dimension: of the vectors.
        survivors, shares: least and most shares in the sum.

    Raises:
        ConfigError: values out of range, or shares of less variance than the theorem takes.
    """

    noise_multiplier: float
    norm: float
    dimension: int
    survivors: int
    shares: int
    sampling: Sampling = "all"
    rate: float = 1.0
    population: int = 0
    cohort: int = 0

    def __post_init__(self) -> None:
        if not self.noise_multiplier >= 0 or not self.norm > 0 or self.dimension < 1:
            raise ConfigError(f"{self} is no sum of shares")
        if not 1 <= self.survivors <= self.shares:
            raise ConfigError(f"a sum of at most {self.shares} shares cannot have {self.survivors} at least")
        if self.sampling != "all" or self.rate != 1:
            raise ConfigError("sums of shares are accounted without sampling: the server sees who takes part")

    @property
    def share_variance(self) -> float:
        """Of one share, on the integers."""
        return (self.noise_multiplier * self.norm) ** 2 / self.survivors

    @property
    def shape(self) -> Hashable:
        return "shares", self.norm, self.dimension, self.survivors, self.shares

    def rho(self, relation: Relation) -> float:
        """Of zero-concentrated DP: half the square of the paper's epsilon; infinite below its least variance."""
        if self.share_variance < _LEAST_VARIANCE:
            return math.inf
        gap = sum_gap(self.share_variance, self.shares)
        plain = self.sensitivity(relation) / self.noise_multiplier
        return 0.5 * min(plain**2 + gap * self.dimension / 2, (plain + gap * math.sqrt(self.dimension)) ** 2)

    @classmethod
    def loss(cls, composition: "tuple[tuple[SumOfShares, int], ...]", relation: Relation) -> "ConcentratedLoss":
        return ConcentratedLoss(sum(times * release.rho(relation) for release, times in composition))


@final
@dataclass(frozen=True)
class ConcentratedLoss:
    """Of releases that are together rho-zCDP (Bun & Steinke 2016): an upper bound, converted through Renyi DP."""

    rho: float

    @property
    def method(self) -> str:
        library = f"dp-accounting {version('dp-accounting')}"
        return f"zCDP bound of sums of discrete Gaussians (Kairouz, Liu & Steinke 2021; {library})"

    def epsilon(self, delta: float) -> float:
        from dp_accounting.rdp import compute_epsilon

        return float(compute_epsilon(_ORDERS, self.rho * _ORDERS, delta)[0]) if math.isfinite(self.rho) else math.inf

    def fast_epsilon(self, delta: float) -> float:
        return self.epsilon(delta)

    def deltas(self, epsilons: Any) -> Any:
        from dp_accounting.rdp.rdp_privacy_accountant import compute_delta

        if not math.isfinite(self.rho):
            return np.ones(len(epsilons))
        return np.array([compute_delta(_ORDERS, self.rho * _ORDERS, float(e))[0] for e in epsilons])
