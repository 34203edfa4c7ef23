"""Privacy loss distributions (PLD) of sampled Gaussian releases: dp-accounting's, inverted for a whole grid at once.

The library inverts one loss at a time in Python, and rounds where sampling rates near 1e-6 or 100,000 releases cannot
bear it: by more than its grids' own error, and to either side.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, final

import numpy as np
import numpy.typing as npt
from dp_accounting.pld.common import compute_self_convolve_bounds
from dp_accounting.pld.pld_pmf import DensePLDPmf, PLDPmf, create_pmf_pessimistic_connect_dots_fixed_gap
from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution
from dp_accounting.pld.privacy_loss_mechanism import AdjacencyType, GaussianPrivacyLoss
from scipy.fft import irfft, next_fast_len, rfft

from fedpriv.accounting.renyi import truncation
from fedpriv.accounting.sampled_gaussian import Relation, SampledGaussian

_ROUNDOFF = 2 * sys.float_info.epsilon
_TAIL = 1e-15  # dp-accounting's: mass that a composition may move to an infinite loss
_CONVOLUTION = 3e-14  # what joining two compositions by a Fourier transform may round off any tail
_REPLACE = AdjacencyType.REPLACE


@final
@dataclass(frozen=True)
class ComposedLoss:
    """A composition's PLD, pessimistic: neither value is below the truth.

    Args:
        rounding: what float arithmetic may have taken from any tail; delta pays for it.
    """

    distribution: PrivacyLossDistribution
    rounding: float

    def get_epsilon(self, delta: float) -> float:
        """Infinite where ``delta`` is below the rounding."""
        paid = delta - self.rounding
        return float(self.distribution.get_epsilon_for_delta(paid)) if paid > 0 else math.inf

    def get_delta(self, epsilon: Any) -> Any:
        """Of one epsilon, or of an array of them."""
        return np.minimum(1.0, self.distribution.get_delta_for_epsilon(epsilon) + self.rounding)


def compose(composition: Sequence[tuple[SampledGaussian, int]], *, relation: Relation, interval: float) -> ComposedLoss:
    """All releases on a grid of width ``interval``, by Connect the Dots (Doroshenko et al. 2022, arXiv 2207.04380)."""
    parts, rounding = [], _TAIL
    for release, times in composition:
        powers = [_power(pmf, times) for pmf in _release(release, relation, interval)]
        parts.append(PrivacyLossDistribution(*(pmf for pmf, _ in powers)))
        rounding += max(error for _, error in powers)
    rounding += _CONVOLUTION * (len(parts) - 1)
    return ComposedLoss(reduce(PrivacyLossDistribution.compose, parts), rounding)


def _power(pmf: PLDPmf, times: int) -> tuple[PLDPmf, float]:
    """The distribution of a sum of ``times`` losses, and the rounding of any of its tails.

    As the library's ``self_compose``, a power of a Fourier transform, whose relative rounding is ``times`` unit
    roundoffs. Taken of the transform less 1, it shrinks with the chance of a loss other than 0, which is small where
    delta is too. (Measured: at most 0.9 of the 2 x times x chance unit roundoffs that are charged.)
    """
    dense = pmf.to_dense_pmf()
    probs, zero = np.asarray(dense._probs), -dense._lower_loss
    if times == 1 or not 0 <= zero < len(probs):
        return pmf.self_compose(times), _ROUNDOFF * times
    low, high = compute_self_convolve_bounds(probs, times, _TAIL)
    size = next_fast_len(max(high - low + 1, len(probs)), real=True)
    less = np.zeros(size)  # the law less a point mass at 0, wrapped around
    less[: len(probs) - zero], less[size - zero :] = probs[zero:], probs[:zero]
    less[0] = 0
    less[0] = -math.fsum(less) - dense._infinity_mass
    transform = rfft(less)
    x, y = transform.real, transform.imag
    with np.errstate(divide="ignore"):
        modulus, angle = np.exp(times / 2 * np.log1p(2 * x + x * x + y * y)), times * np.arctan2(y, 1 + x)
    powered = irfft(modulus * np.exp(1j * angle), size)
    start = low - zero * times
    infinite = _TAIL - math.expm1(times * math.log1p(-dense._infinity_mass))
    sums = powered[np.arange(start, start + high - low + 1) % size]
    return DensePLDPmf(dense._discretization, start, sums, infinite, True), float(_ROUNDOFF * times * -less[0])


def _release(release: SampledGaussian, relation: Relation, interval: float) -> list[PLDPmf]:
    """One release, not of ``fixed_size``: one law where it is the same both ways, else for removal and addition."""
    z, q = release.noise_multiplier, release.rate
    ways = [_REPLACE] if relation == "replace_one" else [AdjacencyType.REMOVE, AdjacencyType.ADD]
    plain = [_pmf(z, q, way, interval) for way in ways]
    if release.sampling != "capped_poisson":
        return plain
    full, share = truncation(release, relation)
    if full == 0 or share == 0:
        return plain
    pushed = _pmf(z / 2, share, _REPLACE, interval)
    return [pushed.compute_mixture(pmf, full) for pmf in plain]


def _pmf(z: float, q: float, adjacency: AdjacencyType, interval: float) -> PLDPmf:
    loss = _Loss(z, sampling_prob=q, adjacency_type=adjacency)
    bounds = loss.connect_dots_bounds()
    low, high = math.floor(bounds.epsilon_lower / interval), math.ceil(bounds.epsilon_upper / interval)
    deltas = loss.get_delta_for_epsilon(np.arange(low, high + 1) * interval)
    return create_pmf_pessimistic_connect_dots_fixed_gap(interval, low, high, deltas)


@final
class _Loss(GaussianPrivacyLoss):
    """The library's loss of a Poisson-sampled Gaussian, with its hockey-stick divergence for arrays."""

    def get_delta_for_epsilon(self, epsilon: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        q, variance = self.sampling_prob, self.standard_deviation**2
        deltas = np.maximum(-np.expm1(np.minimum(epsilon, 0)), 0)  # where the two laws cross nowhere
        crossing = np.full(len(epsilon), True)
        with np.errstate(divide="ignore", over="ignore"):
            lowest = np.log1p(-q)
            if self.adjacency_type == _REPLACE:
                log_alpha = 0.5 / variance + lowest - math.log(q)
                half = np.abs(epsilon) / 2
                log_sinh = log_alpha + half + np.log(-np.expm1(-2 * half)) - math.log(2)
                asinh = np.logaddexp(0.5 * np.logaddexp(0, 2 * log_sinh), log_sinh)
                x = variance * (-np.sign(epsilon) * asinh - epsilon / 2)
            elif self.adjacency_type == AdjacencyType.ADD:
                crossing = epsilon < -lowest
                x = 0.5 + variance * _unsampled(-epsilon[crossing], q)
            else:
                crossing = epsilon > lowest
                x = -0.5 - variance * _unsampled(epsilon[crossing], q)
            met = epsilon[crossing]
            deltas[crossing] = self.mu_upper_cdf(x) - np.exp(met + self.mu_lower_log_cdf(x))
        return np.clip(deltas, 0, 1)


def _unsampled(loss: npt.NDArray[np.float64], q: float) -> npt.NDArray[np.float64]:
    """log(1 + (exp(loss) - 1) / q): the loss without sampling that sampling at rate ``q`` turns into ``loss``."""
    small = np.log1p(np.maximum(np.expm1(np.minimum(loss, 1.0)) / q, -1))
    large = loss - math.log(q) + np.log1p(-(1 - q) * np.exp(-np.maximum(loss, 1.0)))
    return np.asarray(np.where(loss < 1, small, large))
