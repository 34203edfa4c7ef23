"""Whether the event that local steps are charged as is the one that happens (example level).

The steps of one round share the coin of the client: charging each of them at the rate q_client x q_example claims an
independence that is not there.
"""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy import stats

from fedpriv.accounting.accountants import epsilon
from fedpriv.accounting.sampled_gaussian import SampledGaussian

from ..judging import P_VALUE
from ..subject import LocalSteps, Subject, TakesLocalSteps
from ..verdict import Finding, judged, not_applicable

ROUNDS = 600
DELTA = 1e-5
_SURE = 6.0


def event(subject: Subject) -> Finding:
    """How often the target example is in a round's steps, against what the entries of that round charge."""
    if not isinstance(subject, TakesLocalSteps):
        return not_applicable("it takes no noisy local steps")
    rounds = subject.local_steps(rounds=ROUNDS, seed=131)
    hits = np.array([int(np.sum(r.included)) for r in rounds])
    steps = np.array([sum(r.charged.values()) for r in rounds])
    taken = np.array([r.included.size if r.included.any() else 0 for r in rounds])
    if unpaid := int((taken > steps).sum()):
        return judged(False, f"in {unpaid} of {ROUNDS} rounds the example was in steps that no entry charges for")
    mean = np.array([sum(release.rate * n for release, n in r.charged.items()) for r in rounds])
    variance = np.array([_variance(r) for r in rounds])
    often = abs(hits.sum() - mean.sum()) <= _SURE * math.sqrt(variance.sum()) + 5 * (variance.sum() > 0)
    squares, allowed = float(((hits - mean) ** 2).sum()), float(variance.sum() + _SURE * math.sqrt(_fourth(rounds)))
    claimed, least = _epsilon_of(rounds), _least_epsilon(rounds, hits)
    return judged(
        often and squares <= allowed + 1e-9 and claimed >= least,
        f"in {ROUNDS} rounds the example was in {hits.sum()} steps, charged {mean.sum():.5g}; hits of a round vary by "
        f"{squares / ROUNDS:.4g}, as charged {variance.sum() / ROUNDS:.4g} (at most {allowed / ROUNDS:.4g}); a round's "
        f"epsilon is charged as {claimed:.4g}, and measured to be at least {least:.4g} (delta {DELTA:g})",
    )


def _variance(r: LocalSteps) -> float:
    """Of the number of steps that hold the example, were they as independent as charged."""
    return sum(release.rate * (1 - release.rate) * n for release, n in r.charged.items())


def _fourth(rounds: Sequence[LocalSteps]) -> float:
    """Variance of the sum of squared deviations, were steps as independent as charged."""
    total = 0.0
    for r in rounds:
        fourth = sum(
            n * release.rate * (1 - release.rate) * (1 - 6 * release.rate * (1 - release.rate))
            for release, n in r.charged.items()
        )
        total += fourth + 2 * _variance(r) ** 2
    return max(total, 0.0)


def _dearest(rounds: Sequence[LocalSteps]) -> Counter[SampledGaussian]:
    """What the most expensive kind of round charges."""
    kinds = [Counter(dict(kind)) for kind in {frozenset(r.charged.items()) for r in rounds}]
    return max(kinds, key=lambda kind: sum(release.rate * n for release, n in kind.items()))


def _epsilon_of(rounds: Sequence[LocalSteps]) -> float:
    charged = _dearest(rounds)
    if not charged:
        return 0.0
    return epsilon(dict(charged), delta=DELTA, relation="add_or_remove_one", accountant="pld").value


def _least_epsilon(rounds: Sequence[LocalSteps], hits: np.ndarray) -> float:
    """A lower bound of the true epsilon of a round that is charged so, at confidence 1 - P_VALUE.

    Whoever sees every step adds up what lies along the example: k + N(0, S z^2) where it was in k of S steps, in units
    of its sensitivity. P[k >= K] is bounded from below (Clopper & Pearson 1934) by how often it was measured.
    """
    charged = _dearest(rounds)
    alike = np.array([Counter(dict(r.charged)) == charged for r in rounds])
    if not charged or not alike.any():
        return 0.0
    std = math.sqrt(sum(release.noise_multiplier**2 * n for release, n in charged.items()))
    hits, best = hits[alike], 0.0
    for k in range(1, int(hits.max(initial=0)) + 1):
        reached = int((hits >= k).sum())
        often = float(stats.beta.ppf(P_VALUE, reached, len(hits) - reached + 1)) if reached else 0.0
        thresholds = np.linspace(0, k + 4 * std, 100)
        inside = often * stats.norm.sf((thresholds - k) / std) - DELTA
        outside = stats.norm.sf(thresholds / std)
        usable = (inside > 0) & (outside > 0)
        best = max(best, float(np.log(inside[usable] / outside[usable]).max(initial=0.0)))
    return best
