"""Samples of the discrete Gaussian on the integers."""

import math

import numpy as np


def discrete_gaussian(rng: np.random.Generator, *, std: float, size: int) -> np.ndarray:
    """Independent samples with P(x) proportional to exp(-x^2 / 2 std^2), int64, shape (size,).

    By rejection from a discrete Laplace distribution (Canonne, Kamath & Steinke 2020, arXiv 2004.00010, Algorithms 2
    and 3). Integers are drawn as integers; coins are float64, so that every chance is met to about 1e-15, however wide
    the distribution.

    Args:
        std: sigma; the standard deviation of the samples is at most that, and the same to 1e-8 from 1 on.
    """
    scale = math.floor(std) + 1
    found = np.empty(size, dtype=np.int64)
    filled = 0
    while filled < size:
        proposed = _discrete_laplace(rng, scale=scale, tries=int(2.6 * (size - filled)) + 16)
        accept = np.exp(-((np.abs(proposed) - std**2 / scale) ** 2) / (2 * std**2))
        taken = proposed[rng.random(len(proposed)) < accept][: size - filled]
        found[filled : filled + len(taken)] = taken
        filled += len(taken)
    return found


def _discrete_laplace(rng: np.random.Generator, *, scale: int, tries: int) -> np.ndarray:
    """At most ``tries`` samples with P(x) proportional to exp(-|x| / scale): int64."""
    rest = rng.integers(0, scale, size=tries)
    rest = rest[rng.random(tries) < np.exp(-rest / scale)]
    whole = rng.geometric(-math.expm1(-1), size=len(rest)) - 1
    magnitude = rest + scale * whole
    sign = rng.integers(0, 2, size=len(rest), dtype=np.int8) * 2 - 1
    found: np.ndarray = (magnitude * sign)[(magnitude > 0) | (sign > 0)]  # zero has one sign only
    return found
