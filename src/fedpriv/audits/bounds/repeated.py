"""Bounds from many runs, half with the canary: Jagielski, Ullman & Oprea 2020; as mu-GDP, Nasr et al. 2023."""

import math

from scipy import special, stats

from fedpriv.errors import ConfigError

from .guesses import check_terms


def repeated_epsilon(
    *, runs_with: int, runs_without: int, missed: int, false_alarms: int, delta: float, confidence: float
) -> float:
    """An epsilon that the mechanism does not keep at ``delta``, with ``confidence``; 0 where none is ruled out.

    Args:
        runs_with, runs_without: runs that had the canary, and that had not.
        missed: runs with it that were taken for runs without; ``false_alarms``: the other way round. What takes a run
            for one with the canary is fixed before these runs: a threshold chosen on them has seen the answers.

    Raises:
        ConfigError: no runs of either kind, more errors than runs, confidence or delta that none is.
    """
    check_terms(confidence=confidence, delta=delta)
    miss, alarm = _errors(runs_with, runs_without, missed, false_alarms, confidence)
    ratios = ((1 - delta - miss) / alarm, (1 - delta - alarm) / miss)
    return max((math.log(ratio) for ratio in ratios if ratio > 1), default=0.0)


def repeated_mu(*, runs_with: int, runs_without: int, missed: int, false_alarms: int, confidence: float) -> float:
    """A mu for which the mechanism is not mu-GDP, with ``confidence``; arguments as of ``repeated_epsilon``."""
    check_terms(confidence=confidence, delta=0.0)
    miss, alarm = _errors(runs_with, runs_without, missed, false_alarms, confidence)
    return max(0.0, float(special.ndtri(1 - alarm) - special.ndtri(miss)))


def _errors(
    runs_with: int, runs_without: int, missed: int, false_alarms: int, confidence: float
) -> tuple[float, float]:
    """Upper ends of both error rates, that hold together (Clopper & Pearson 1934)."""
    if min(runs_with, runs_without) < 1:
        raise ConfigError("A repeated audit needs runs with the canary and runs without it.")
    if not (0 <= missed <= runs_with and 0 <= false_alarms <= runs_without):
        raise ConfigError(
            f"A repeated audit cannot miss {missed} of {runs_with} runs, or have {false_alarms} false alarms in "
            f"{runs_without}."
        )
    each = (1 - confidence) / 2
    return _upper(missed, runs_with, each), _upper(false_alarms, runs_without, each)


def _upper(errors: int, runs: int, chance: float) -> float:
    return float(stats.beta.isf(chance, errors + 1, runs - errors)) if errors < runs else 1.0
