"""Andrew et al. 2023, "One-shot Empirical Privacy Estimation for Federated Learning" (arXiv 2302.03098).

An estimate, and no bound: it takes the cosines of canaries to be Gaussian, and says nothing with confidence.
"""

import math

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from fedpriv.errors import ConfigError

_LEAST_CANARIES = 10
_MOST_EPSILON = 100.0


def one_shot_estimate(cosines: npt.NDArray[np.float64], *, dimension: int, delta: float) -> float:
    """Epsilon at which two Gaussians are told apart: canaries' cosines with what the model moved by, and none's.

    Args:
        cosines: of random unit canaries that took part, with the whole change of the model (n,).
        dimension: d; a canary that took no part has a cosine of about N(0, 1/d).
        delta: above 0; without one, Gaussians have no finite epsilon.

    Returns:
        At most 100, which then stands for everything above.

    Raises:
        ConfigError: too few canaries for a standard deviation, a cosine that is none, or no delta.
    """
    if len(cosines) < _LEAST_CANARIES:
        raise ConfigError(
            f"{len(cosines)} canaries are too few for an estimate from their cosines: use at least {_LEAST_CANARIES}."
        )
    if not np.isfinite(cosines).all():
        raise ConfigError("A canary's cosine is not finite: the model diverged, and there is nothing to estimate from.")
    if not 0 < delta <= 1:
        raise ConfigError(f"delta={delta} of an estimate from cosines must lie above 0, and not above 1.")
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
    """Of N(mean, std^2) over N(0, 1): what the first has above e^epsilon times the second."""
    return sum(
        _mass((low - mean) / std, (high - mean) / std) - math.exp(epsilon) * _mass(low, high)
        for low, high in _where_more(mean, std, epsilon)
    )


def _where_more(mean: float, std: float, epsilon: float) -> list[tuple[float, float]]:
    """Intervals where the logarithms of the densities are more than epsilon apart: a parabola above 0."""
    a, b = (1 - std**-2) / 2, mean * std**-2
    c = -(mean**2) * std**-2 / 2 - math.log(std) - epsilon
    if a == 0:
        if b == 0:
            return []
        return [(-c / b, math.inf)] if b > 0 else [(-math.inf, -c / b)]
    inside = b * b - 4 * a * c
    if inside <= 0:
        return []  # above 0 everywhere it cannot be: both densities integrate to 1
    far = -(b + math.copysign(math.sqrt(inside), b)) / 2  # without cancellation
    low, high = sorted((far / a, c / far))
    return [(low, high)] if a < 0 else [(-math.inf, low), (high, math.inf)]


def _mass(low: float, high: float) -> float:
    """Of N(0, 1) between two points, from the tail where it is small."""
    if low > 0:
        low, high = -high, -low
    return float(special.ndtr(high) - special.ndtr(low))
