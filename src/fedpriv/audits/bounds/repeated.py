"""Bounds from many runs, half with the canary: Jagielski, Ullman & Oprea 2020; as mu-GDP, Nasr et al. 2023."""

import math

from scipy import special, stats

from fedpriv.errors import ConfigError


def repeated_epsilon(
    *, runs_with: int, runs_without: int, missed: int, false_alarms: int, delta: float, confidence: float
) -> float:
    """An epsilon that the mechanism does not keep at ``delta``, with ``confidence``; 0 where none is ruled out.

    Args:
        runs_with, runs_without: runs that had the canary, and that had not.
        missed: runs with it that were taken for runs without; ``false_alarms``: the other way round.
    """
    miss, alarm = _errors(runs_with, runs_without, missed, false_alarms, confidence)
    ratios = ((1 - delta - miss) / alarm, (1 - delta - alarm) / miss)
    return max(0.0, *(math.log(ratio) for ratio in ratios if ratio > 0))


def repeated_mu(
    *, runs_with: int, runs_without: int, missed: int, false_alarms: int, confidence: float
) -> float:
    """A mu for which the mechanism is not mu-GDP, with ``confidence``; arguments as of ``repeated_epsilon``."""
    miss, alarm = _errors(runs_with, runs_without, missed, false_alarms, confidence)
    return max(0.0, float(special.ndtri(1 - alarm) - special.ndtri(miss)))


def _errors(
    runs_with: int, runs_without: int, missed: int, false_alarms: int, confidence: float
) -> tuple[float, float]:
    """Upper ends of both error rates, that hold together (Clopper & Pearson 1934)."""
    if min(runs_with, runs_without) < 1:
        raise ConfigError("A repeated audit needs runs with the canary and runs without it.")
    each = (1 - confidence) / 2
    return _upper(missed, runs_with, each), _upper(false_alarms, runs_without, each)


def _upper(errors: int, runs: int, chance: float) -> float:
    return float(stats.beta.isf(chance, errors + 1, runs - errors)) if errors < runs else 1.0
