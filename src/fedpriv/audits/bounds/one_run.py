"""Steinke, Nasr & Jagielski 2023, "Privacy Auditing with One (1) Training Run" (arXiv 2305.08846)."""

import numpy as np
from scipy import stats

from .guesses import Guesses, check_terms, largest

_MOST = 50.0  # of epsilon


def one_run_epsilon(guesses: Guesses, *, delta: float, confidence: float) -> float:
    """An epsilon that the run does not keep at ``delta``, with ``confidence`` (Theorem 5.2); 0 where none is ruled out.

    Holds for every mechanism that is (epsilon, delta)-DP for each canary, whatever was released.

    Raises:
        ConfigError: confidence or delta that none is.
    """
    check_terms(confidence=confidence, delta=delta)
    return largest(lambda epsilon: p_value(guesses, epsilon, delta) < 1 - confidence, most=_MOST)


def p_value(guesses: Guesses, epsilon: float, delta: float) -> float:
    """At most the chance of so many right guesses on an (epsilon, delta)-DP mechanism."""
    m, r, v = guesses.canaries, guesses.made, guesses.right
    q = float(1 / (1 + np.exp(-epsilon)))
    beta = float(stats.binom.sf(v - 1, r, q))
    if delta == 0 or v == 0:
        return min(1.0, beta)
    below = stats.binom.cdf(v - 1, r, q) - stats.binom.cdf(v - 1 - np.arange(1, v + 1), r, q)
    alpha = float((below / np.arange(1, v + 1)).max())
    return min(1.0, beta + 2 * m * delta * alpha)
