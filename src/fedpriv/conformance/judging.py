"""Tests of noise. A right mechanism fails one run in a million at most: some fifty tests a run, each at 1e-8."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

P_VALUE = 1e-8
_SCIPY = {"gaussian": stats.norm(), "laplace": stats.laplace(scale=1 / math.sqrt(2))}  # of variance 1
_EXCESS_KURTOSIS = {"gaussian": 0.0, "laplace": 3.0}


def spread(samples: np.ndarray) -> float:
    """Standard deviation about zero."""
    return float(np.sqrt(np.mean(np.square(samples))))


def same_spread(samples: np.ndarray, claimed: float, *, law: str, of_differences: bool) -> float:
    """Two-sided p-value of a standard deviation: chi-square, its degrees of freedom corrected for the law's kurtosis.

    Args:
        of_differences: whether samples are differences of two draws, over the square root of 2.
    """
    excess = _EXCESS_KURTOSIS[law] / (2 if of_differences else 1)
    degrees = samples.size * 2 / (2 + excess)
    statistic = degrees * (spread(samples) / claimed) ** 2 if claimed > 0 else math.inf
    return float(min(1.0, 2 * min(stats.chi2.sf(statistic, degrees), stats.chi2.cdf(statistic, degrees))))


def follows(samples: np.ndarray, law: str) -> tuple[float, float]:
    """p-values that samples, in units of their own spread, follow a law: Kolmogorov-Smirnov, and of the largest."""
    shape, size = _SCIPY[law], samples.size
    scaled = samples / (spread(samples) or 1.0)
    below = math.exp(size * math.log1p(-2 * float(shape.sf(np.abs(scaled).max()))))
    return float(stats.kstest(scaled, shape.cdf).pvalue), 2 * min(below, 1 - below)


def strongest_correlation(vectors: Sequence[np.ndarray]) -> tuple[float, float]:
    """The largest |correlation| of two of these vectors (shape (d,) each), and its p-value after Bonferroni.

    A vector of zeros is no noise at all, and so as good as known: correlation 1.
    """
    matrix = np.stack([np.asarray(vector, dtype=np.float64) for vector in vectors])
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    if not norms.all():
        return 1.0, 0.0
    matrix /= norms
    correlations = np.abs(matrix @ matrix.T)[np.triu_indices(len(matrix), k=1)]
    largest = float(correlations.max())
    p = 2 * stats.norm.sf(largest * math.sqrt(matrix.shape[1])) * len(correlations)
    return largest, float(min(1.0, p))
