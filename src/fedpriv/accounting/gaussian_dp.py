"""mu-GDP (Dong, Roth & Su 2022): what Gaussian noise tells, in closed form (Balle & Wang 2018)."""

from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt

METHOD = "closed form: analytic Gaussian (Balle & Wang 2018)"
_ROUNDING = 1e-9  # relative, more than float64 loses in the closed form


def gaussian_epsilon(mu: float, delta: float) -> float:
    """The least epsilon at ``delta``."""
    from dp_accounting.gaussian_mechanism import get_epsilon_gaussian

    with np.errstate(all="ignore"):
        return float(get_epsilon_gaussian(1 / mu, delta))


def gaussian_deltas(mu: float, epsilons: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Balle & Wang 2018, Theorem 5, in logs."""
    from scipy.special import log_ndtr

    if mu == 0:
        return np.zeros(len(epsilons))
    log_above = log_ndtr(mu / 2 - epsilons / mu)
    log_below = epsilons + log_ndtr(-mu / 2 - epsilons / mu)
    return np.asarray(np.exp(log_above) * -np.expm1(log_below - log_above) * (1 + _ROUNDING))


@final
@dataclass(frozen=True)
class GaussianLoss:
    """Of releases that are together one vector with Gaussian noise.

    Args:
        mu: distance of neighbours / standard deviation.
    """

    mu: float

    @property
    def method(self) -> str:
        return METHOD

    def epsilon(self, delta: float) -> float:
        return gaussian_epsilon(self.mu, delta)

    def fast_epsilon(self, delta: float) -> float:
        return gaussian_epsilon(self.mu, delta)

    def deltas(self, epsilons: Any) -> Any:
        return gaussian_deltas(self.mu, epsilons)


