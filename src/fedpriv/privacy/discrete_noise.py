"""Samples of the discrete Gaussian on the integers."""

import math

import numpy as np


def discrete_gaussian(rng: np.random.Generator, *, std: float, size: int) -> np.ndarray:
    """Independent samples with P(x) proportional to exp(-x^2 / 2 std^2), int64, shape (size,).

    By rejection from a discrete Laplace distribution (Canonne, Kamath & Steinke 2020, arXiv 2004.00010, Algorithm 3),
    whose coins are float64 here: every chance is met to about 1e-15, relative.

    Args:
        std: sigma; the standard deviation of the samples is at most that, and the same to 1e-8 from 1 on.
    """
    scale = math.floor(std) + 1
    found = np.empty(size, dtype=np.int64)
    filled = 0
    while filled < size:
        tries = int(1.6 * (size - filled)) + 16
        magnitude = rng.geometric(-math.expm1(-1 / scale), size=tries) - 1
        sign = rng.integers(0, 2, size=tries, dtype=np.int8) * 2 - 1
        accept = np.exp(-((magnitude - std**2 / scale) ** 2) / (2 * std**2))
        keep = (rng.random(tries) < accept) & ((magnitude > 0) | (sign > 0))  # zero has one sign only
        taken = (magnitude * sign)[keep][: size - filled]
        found[filled : filled + len(taken)] = taken
        filled += len(taken)
    return found
