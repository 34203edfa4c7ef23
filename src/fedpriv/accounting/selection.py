"""What choosing one of several private results costs (Papernot & Steinke 2022, arXiv 2110.03620)."""

import math
from collections.abc import Collection, Iterable
from importlib.metadata import version

import numpy as np

from .accountants import Composition, Epsilon, Relation, canonical
from .boxes import at_most
from .renyi import FAST_ORDERS, Curve, fast_curve

_MOST_BOXES = 256  # of similar participants, each judged by its worst corner


def repeat_and_select(
    tries: Collection[Iterable[Composition]], *, repetitions: float, delta: float, relation: Relation
) -> Epsilon | None:
    """Epsilon of the best of K results, where K is Poisson of mean ``repetitions``, drawn apart from data and results.

    Each result is that of one of these tries, drawn at random, with noise of its own; only the best is released.
    Theorem 6 of the paper on the largest Rényi curve of all tries, which bounds that of a try drawn at random.

    Args:
        tries: what each would release about every participant.
        repetitions: at least 1.

    Returns:
        None where one of the tries has too little noise for a bound.
    """
    # The library's event takes one composition, its theorem any curve; a test holds both together.
    from dp_accounting.rdp.rdp_privacy_accountant import _compute_rdp_repeat_and_select

    curves = [_curve(released, relation) for released in tries]
    with np.errstate(all="ignore"):
        selected = _compute_rdp_repeat_and_select(FAST_ORDERS, np.max(curves, axis=0), repetitions, math.inf)
    return _epsilon(selected, delta, "RDP, RepeatAndSelect with a Poisson number of tries")


def all_together(tries: Iterable[Iterable[Composition]], *, delta: float, relation: Relation) -> Epsilon | None:
    """Epsilon of all tries, each with noise of its own, whoever looks at them and chooses in whatever way.

    A participant of one try may be any participant of another. None where one of them has too little noise.
    """
    total = sum((_curve(released, relation) for released in tries), np.zeros(len(FAST_ORDERS)))
    return _epsilon(total, delta, "RDP, all tries composed")


def _curve(released: Iterable[Composition], relation: Relation) -> Curve:
    """The largest over participants, at every order."""
    keys = sorted({canonical(composition) for composition in released})
    largest = np.zeros(len(FAST_ORDERS))
    for box in at_most(_MOST_BOXES, keys):
        terms = [(release, times) for release, times in box.corner() if times]
        if any(release.noise_multiplier <= 0 for release, _ in terms):
            return np.full(len(FAST_ORDERS), np.inf)
        curve = sum((fast_curve(release, relation) * times for release, times in terms), np.zeros(len(FAST_ORDERS)))
        largest = np.maximum(largest, curve)
    return largest


def _epsilon(curve: Curve, delta: float, method: str) -> Epsilon | None:
    from dp_accounting.rdp import compute_epsilon

    with np.errstate(all="ignore"):
        value = float(compute_epsilon(FAST_ORDERS, curve, delta)[0])
    return Epsilon(value, f"{method} (dp-accounting {version('dp-accounting')})") if value < math.inf else None
