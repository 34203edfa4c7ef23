"""Whether the event that local steps are charged as is the one that happens (example level).

The steps of one round share the coin of the client: charging each of them at the rate q_client x q_example claims an
independence that is not there.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from fedpriv.accounting.accountants import epsilon
from fedpriv.accounting.sampled_gaussian import SampledGaussian

from ..judging import P_VALUE
from ..subject import LocalSteps, Subject, TakesLocalSteps
from ..verdict import Finding, judged, not_applicable

_PARTICIPATIONS, _TRIAL, _MOST = 200, 100, 2000
DELTA = 1e-5
_TILTS = np.geomspace(1e-4, 30, 200)

Charges = frozenset[tuple[SampledGaussian, int]]
Count = Callable[[np.ndarray], np.ndarray]


def event(subject: Subject) -> Finding:
    """How often the target example is in a round's steps, and in two of them, against what the entries charge."""
    if not isinstance(subject, TakesLocalSteps):
        return not_applicable("it takes no noisy local steps")
    rounds = _enough(subject)
    hits = np.array([int(np.sum(r.included)) for r in rounds])
    taken = np.array([r.included.size if r.included.any() else 0 for r in rounds])
    if unpaid := int((taken > np.array([sum(r.charged.values()) for r in rounds])).sum()):
        return judged(False, f"in {unpaid} of {len(rounds)} rounds the example was in steps that no entry charges for")
    charges = Counter(frozenset(r.charged.items()) for r in rounds)
    often = min(_tail(charges, lambda k: k, hits), _tail(charges, lambda k: -k, hits))
    together = _tail(charges, _pairs, hits)
    dearest = max(charges, key=lambda kind: sum(release.rate * n for release, n in kind))
    alike = np.array([frozenset(r.charged.items()) == dearest for r in rounds])
    claimed, least = _epsilon_of(dearest), _least_epsilon(dearest, hits[alike])
    return judged(
        min(often, together) > P_VALUE and claimed >= least,
        f"in {len(rounds)} rounds the example was in {hits.sum()} steps, charged {_expected(charges, lambda k: k):.5g} "
        f"(p <= {often:.2g}); in two steps of one round {_pairs(hits).sum():.0f} times, charged "
        f"{_expected(charges, _pairs):.4g} (p <= {together:.2g}); a round's epsilon is charged as {claimed:.4g}, and "
        f"measured to be at least {least:.4g} (delta {DELTA:g})",
    )


def _enough(subject: TakesLocalSteps) -> Sequence[LocalSteps]:
    """So many rounds that the target's client is asked in some two hundred of them."""
    trial = subject.local_steps(rounds=_TRIAL, seed=130)
    asked = max(1, sum(r.included.size > 0 for r in trial))
    return subject.local_steps(rounds=min(_MOST, _PARTICIPATIONS * _TRIAL // asked), seed=131)


def _pairs(hits: np.ndarray) -> np.ndarray:
    return np.asarray(hits * (hits - 1) / 2)


def _hits(charged: Charges) -> npt.NDArray[np.float64]:
    """P[the example is in k steps], k from 0, were all steps as independent as charged."""
    law: npt.NDArray[np.float64] = np.ones(1)
    for release, steps in charged:
        law = np.convolve(law, stats.binom.pmf(np.arange(steps + 1), steps, release.rate))
    return np.asarray(law)


def _expected(charges: Counter[Charges], count: Count) -> float:
    return sum(times * float(_hits(kind) @ count(np.arange(len(_hits(kind))))) for kind, times in charges.items())


def _tail(charges: Counter[Charges], count: Count, hits: np.ndarray) -> float:
    """Chernoff's bound of the chance that the rounds' counts, as charged, add up to so much."""
    exponents = -_TILTS * count(hits).sum()
    for kind, times in charges.items():
        law = _hits(kind)
        values = count(np.arange(len(law)))
        exponents += times * special.logsumexp(_TILTS[:, None] * values, b=law, axis=1)
    return float(min(1.0, math.exp(min(0.0, exponents.min()))))


def _epsilon_of(charged: Charges) -> float:
    return epsilon(dict(charged), delta=DELTA, relation="add_or_remove_one", accountant="pld").value


def _least_epsilon(charged: Charges, hits: np.ndarray) -> float:
    """A lower bound of the true epsilon of a round that is charged so, at confidence 1 - P_VALUE.

    Whoever sees every step adds up what lies along the example: k + N(0, S z^2) where it was in k of S steps, in units
    of its sensitivity. P[k >= K] is bounded from below (Clopper & Pearson 1934) by how often it was measured.
    """
    std, best = math.sqrt(sum(release.noise_multiplier**2 * n for release, n in charged)), 0.0
    for k in range(1, int(hits.max(initial=0)) + 1):
        reached = int((hits >= k).sum())
        often = float(stats.beta.ppf(P_VALUE, reached, len(hits) - reached + 1))
        thresholds = np.linspace(0, k + 4 * std, 100)
        inside = often * stats.norm.sf((thresholds - k) / std) - DELTA
        outside = stats.norm.sf(thresholds / std)
        usable = (inside > 0) & (outside > 0)
        best = max(best, float(np.log(inside[usable] / outside[usable]).max(initial=0.0)))
    return best
