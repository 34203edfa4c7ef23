"""A sum of discrete Gaussian shares: what it tells of one addend (Kairouz, Liu & Steinke 2021, arXiv 2102.06387)."""

import math
from collections.abc import Hashable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, final

import numpy as np

from fedpriv.errors import ConfigError

from .gaussian_dp import gaussian_deltas, gaussian_epsilon
from .release import OwnRelease, Relation, Sampling

_LEAST_VARIANCE = 0.5  # of a share, from which the paper's bound on sums of shares holds
_ROUNDING = 4.0  # variance of a random rounding, in grid steps: exp(-2 pi^2 4) is 5e-35
_ROUNDING_GAP = 2.01 * math.exp(-2 * math.pi**2 * _ROUNDING)
_LARGE_GAP = 0.1
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

    def gaussian(self, relation: Relation) -> tuple[float, float]:
        """(mu, gap): the sum's outputs are as likely as a mu-GDP mechanism's, but for a factor e^gap either way.

        Round a continuous Gaussian of variance s^2 - t^2 to a random integer, by a discrete Gaussian of variance t^2
        around it: every integer has the chance that a discrete Gaussian of variance s^2 gives it, but for a factor
        within (1 - g) / (1 + g) and its inverse, g = 2 sum over m > 0 of exp(-2 pi^2 t^2 m^2). (The densities multiply
        out; by Poisson's formula either normaliser is within 1 - g and 1 + g. This is the convolution lemma of lattice
        cryptography: Peikert 2010, Theorem 3.1.) A sum of shares is as close to one discrete Gaussian as ``sum_gap``
        says. So the sum is all but post-processing of a continuous Gaussian.
        """
        variance = self.share_variance * self.survivors
        if self.share_variance < _LEAST_VARIANCE or variance <= 2 * _ROUNDING:
            return math.inf, math.inf
        per_coordinate = sum_gap(self.share_variance, self.shares) + 2 * math.atanh(_ROUNDING_GAP)
        shrunk = self.noise_multiplier * math.sqrt(1 - _ROUNDING / variance)
        return self.sensitivity(relation) / shrunk, self.dimension * per_coordinate

    @classmethod
    def loss(cls, composition: "tuple[tuple[SumOfShares, int], ...]", relation: Relation) -> "SumsLoss":
        whole = [(times, *release.gaussian(relation)) for release, times in composition]
        return SumsLoss(
            concentrated=ConcentratedLoss(sum(times * release.rho(relation) for release, times in composition)),
            mu=math.sqrt(sum(times * mu**2 for times, mu, _ in whole)),
            gap=sum(times * gap for times, _, gap in whole),
        )


@final
@dataclass(frozen=True, kw_only=True)
class SumsLoss:
    """The smaller of two upper bounds: as the paper's zCDP, and as nearly post-processing of continuous Gaussians.

    From P <= e^g P' and Q >= e^-g Q' follows P(S) - e^eps Q(S) <= e^g (P'(S) - e^(eps - 2 g) Q'(S)).

    Args:
        mu: of the Gaussians together.
        gap: g, of all releases.
    """

    concentrated: "ConcentratedLoss"
    mu: float
    gap: float

    @property
    def method(self) -> str:
        library = f"dp-accounting {version('dp-accounting')}"
        return f"upper bound of sums of discrete Gaussians (Kairouz, Liu & Steinke 2021; {library})"

    def epsilon(self, delta: float) -> float:
        if not self._near:
            return self.concentrated.epsilon(delta)
        as_gaussian = gaussian_epsilon(self.mu, delta * math.exp(-self.gap)) + 2 * self.gap
        return min(as_gaussian, self.concentrated.epsilon(delta))

    def fast_epsilon(self, delta: float) -> float:
        return self.epsilon(delta)

    def deltas(self, epsilons: Any) -> Any:
        concentrated = self.concentrated.deltas(epsilons)
        if not self._near:
            return concentrated
        asked = np.asarray(epsilons, dtype=np.float64) - 2 * self.gap
        as_gaussian = math.exp(self.gap) * gaussian_deltas(self.mu, np.maximum(asked, 0.0))
        return np.where(asked < 0, concentrated, np.minimum(as_gaussian, concentrated))

    @property
    def _near(self) -> bool:
        """Whether the second bound says anything."""
        return self.gap < _LARGE_GAP and math.isfinite(self.mu)


@final
@dataclass(frozen=True)
class ConcentratedLoss:
    """Of releases that are together rho-zCDP (Bun & Steinke 2016): an upper bound, converted through Renyi DP."""

    rho: float

    def epsilon(self, delta: float) -> float:
        from dp_accounting.rdp import compute_epsilon

        return float(compute_epsilon(_ORDERS, self.rho * _ORDERS, delta)[0]) if math.isfinite(self.rho) else math.inf

    def deltas(self, epsilons: Any) -> Any:
        from dp_accounting.rdp.rdp_privacy_accountant import compute_delta

        if not math.isfinite(self.rho):
            return np.ones(len(epsilons))
        return np.array([compute_delta(_ORDERS, self.rho * _ORDERS, float(e))[0] for e in epsilons])
