"""Andrew et al. 2023, "One-shot Empirical Privacy Estimation for Federated Learning" (arXiv 2302.03098).

An estimate, and no bound: it takes the cosines of canaries to be Gaussian, and says nothing with confidence.
"""

import math
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import integrate, optimize, stats

from fedpriv.errors import ConfigError

_LEAST_CANARIES = 10
_MOST_EPSILON = 100.0


def one_shot_estimate(cosines: npt.NDArray[np.float64], *, dimension: int, delta: float) -> float:
    """Epsilon at which two Gaussians are told apart: canaries' cosines with what the model moved by, and none's.

    Args:
        cosines: of random unit canaries that took part, with the whole change of the model (n,).
        dimension: d; a canary that took no part has a cosine of about N(0, 1/d).

    Raises:
        ConfigError: too few canaries for a standard deviation.
    """
    if len(cosines) < _LEAST_CANARIES:
        raise ConfigError(
            f"{len(cosines)} canaries are too few for an estimate from their cosines: use at least {_LEAST_CANARIES}."
        )
    scaled = np.asarray(cosines, dtype=np.float64) * math.sqrt(dimension)
    mean, std = float(scaled.mean()), float(scaled.std(ddof=1))
    if std == 0:
        return _MOST_EPSILON

    def excess(epsilon: float) -> float:
        return max(_hockey_stick(mean, std, epsilon), _hockey_stick(-mean / std, 1 / std, epsilon)) - delta

    if excess(0.0) <= 0:
        return 0.0
    if excess(_MOST_EPSILON) > 0:
        return _MOST_EPSILON
    return float(optimize.brentq(excess, 0.0, _MOST_EPSILON, xtol=1e-6))


def _hockey_stick(mean: float, std: float, epsilon: float) -> float:
    """Of N(mean, std^2) over N(0, 1)."""

    def part(x: float) -> float:
        log_p, log_q = stats.norm.logpdf(x, mean, std), stats.norm.logpdf(x)
        return float(np.exp(log_p) - np.exp(epsilon + log_q)) if log_p > epsilon + log_q else 0.0

    ends = sorted({mean - 40 * std, *_crossings(mean, std, epsilon), mean + 40 * std})
    return float(sum(integrate.quad(part, a, b, limit=200)[0] for a, b in pairwise(ends)))


def _crossings(mean: float, std: float, epsilon: float) -> list[float]:
    """Where the densities are e^epsilon apart."""
    a, b = (1 - 1 / std**2) / 2, mean / std**2
    c = -(mean**2) / (2 * std**2) - math.log(std) - epsilon
    roots = np.roots([a, b, c]) if abs(a) > 1e-12 else np.array([-c / b]) if b else np.array([])
    low, high = mean - 40 * std, mean + 40 * std
    return [float(r.real) for r in roots if abs(r.imag) < 1e-9 and low < r.real < high]
