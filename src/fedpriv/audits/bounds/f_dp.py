"""Mahloujifar, Melis & Chaudhuri 2024, "Auditing f-Differential Privacy in One Run" (arXiv 2410.22235).

Let W be how many of r guesses on m canaries are right, and ``raised`` the highest power of a test at a level under the
claimed trade-off f, 1 - f(level). One canary's coin and all others' apart, f-DP says of every k

    E[W; W >= k] / m  <=  raised( E[r - W; W >= k - 1] / m )

since either side averages a right guess, or a wrong one, over the canaries, and ``raised`` is concave. From the top
down these inequalities say how much must happen beside W >= v, and whether there is room for it. docs/audits/bounds.md
proves that this loses nothing: it rules out just what no distribution of W allows.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import special

from .guesses import Guesses, check_terms, largest

Lowered = Callable[[float], float]
"""The inverse of ``raised``: the least level at which a test can have this power."""

_MOST_EPSILON, _MOST_MU = 50.0, 20.0
_AS_GOOD_AS_INFINITE = 700.0  # e^700 is still a float; beyond it an epsilon claims no less


def is_ruled_out(guesses: Guesses, lowered: Lowered, *, confidence: float) -> bool:
    """Whether a mechanism with this trade-off would have so many right guesses with chance below 1 - ``confidence``."""
    check_terms(confidence=confidence, delta=0.0)
    m, r, v = guesses.canaries, guesses.made, guesses.right
    chance = 1 - confidence
    right, wrong = chance * v / m, chance * (r - v) / m  # all of the chance at W = v: least of what follows from it
    for k in range(v - 1, -1, -1):
        needed = max(wrong, lowered(right))
        if needed == wrong:  # nor will anything more be needed further down
            return False
        right += k / (r - k) * (needed - wrong)
        wrong = needed
        if right + wrong > r / m:
            return True
    return False


def f_dp_epsilon(guesses: Guesses, *, delta: float, confidence: float) -> float:
    """An epsilon that the run does not keep at ``delta``; holds for every mechanism, as ``one_run_epsilon`` does.

    Raises:
        ConfigError: confidence or delta that none is.
    """
    check_terms(confidence=confidence, delta=delta)
    return largest(
        lambda epsilon: is_ruled_out(guesses, _lowered_by_dp(epsilon, delta), confidence=confidence),
        most=_MOST_EPSILON,
    )


def f_dp_mu(guesses: Guesses, *, confidence: float) -> float:
    """A mu for which the run is not mu-GDP: says most where the noise is Gaussian and nothing is sampled."""
    return largest(lambda mu: is_ruled_out(guesses, lowered_by_gdp(mu), confidence=confidence), most=_MOST_MU)


def contradicted(guesses: Guesses, *, curve: Sequence[tuple[float, float]], confidence: float) -> bool:
    """Whether a claimed curve is ruled out: points (epsilon, delta) which are all claimed of the same run."""
    return is_ruled_out(guesses, _lowered_by_curve(curve), confidence=confidence)


def lowered_by_gdp(mu: float) -> Lowered:
    """Of mu-GDP (Dong, Roth & Su 2022)."""

    def lowered(power: float) -> float:
        return float(special.ndtr(special.ndtri(min(power, 1.0)) - mu))

    return lowered


def _lowered_by_dp(epsilon: float, delta: float) -> Lowered:
    return _lowered_by_curve([(epsilon, delta)])


def _lowered_by_curve(curve: Sequence[tuple[float, float]]) -> Lowered:
    """A point claims power <= e^epsilon level + delta, and 1 - level <= e^epsilon (1 - power) + delta."""
    epsilons, deltas = np.asarray(curve, dtype=np.float64).reshape(-1, 2).T
    rises = np.exp(np.minimum(epsilons, _AS_GOOD_AS_INFINITE))

    def lowered(power: float) -> float:
        power = min(power, 1.0)
        found = np.maximum((power - deltas) / rises, 1 - deltas - (1 - power) * rises)
        return float(found.max(initial=0.0))

    return lowered
