"""The whole delta(epsilon) curve of what was released: an upper bound at every point, the maximum over participants."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from typing import Any, final

import numpy as np
import numpy.typing as npt

from .accountants import Composition, Relation, canonical, own_loss, rough_pld
from .boxes import Key, at_most
from .budget import Accounting
from .gaussian_dp import METHOD, GaussianLoss, gaussian_deltas
from .renyi import FAST_ORDERS, LIBRARY_ORDERS, fast_curve, library_curve

Deltas = npt.NDArray[np.float64]

_BELOW, _ABOVE = np.geomspace(0.1, 1, 16)[:-1], np.geomspace(1, 3, 10)[1:]  # of the headline's epsilon
_SMALLEST = 1e-4  # epsilons around a headline that rounds to 0
_BOXES = 48
_TINY = 1e-300  # an underflow is no zero


@final
@dataclass(frozen=True, kw_only=True)
class Curve:
    """(epsilon, delta) pairs that all hold at once, as they are about the same releases.

    Attributes:
        mu: where nothing is sampled, all of it is mu-GDP (Dong, Roth & Su 2022), which says the whole curve; else None.
        points: by growing epsilon; delta never grows; the headline is one of them.
    """

    method: str
    mu: float | None
    points: tuple[tuple[float, float], ...]

    def to_json(self) -> dict[str, Any]:
        """Without ``mu``, which a statement has beside it."""
        return {"method": self.method, "points": [{"epsilon": e, "delta": d} for e, d in self.points]}


def delta_curve(released: Iterable[Composition], *, accounting: Accounting, epsilon: float) -> Curve:
    """The curve through (``epsilon``, ``accounting.delta``), which the accountant has found to hold for all of these.

    Many unequal compositions are judged in at most 48 boxes of similar ones, each by its worst corner. A point below
    the headline's epsilon is never stated below the headline's delta, nor one above it above.

    Args:
        released: what was released about each participant, with noise in every release.
        accounting: ``pld`` and ``prv`` are judged by PLD, the others by RDP.
        epsilon: the headline's, finite.
    """
    keys = sorted({canonical(composition) for composition in released})  # so that equals are split alike
    around, stated = max(epsilon, _SMALLEST), accounting.delta
    others = np.array([_rounded(share * around) for share in (*_BELOW, *_ABOVE)])
    if owns := [own for key in keys if (own := own_loss(key, accounting.relation)) is not None]:
        mus = [own.mu if isinstance(own, GaussianLoss) else math.nan for own in owns]
        mu, method = float(np.max(mus)), owns[0].method
        deltas = np.max([own.deltas(others) for own in owns], axis=0)
    elif all(release.sampling == "all" for key in keys for release, _ in key):
        mu = max((_mu(key, accounting.relation) for key in keys), default=0.0)
        deltas, method = gaussian_deltas(mu, others), METHOD
    else:
        mu, boxes = math.nan, at_most(_BOXES, keys)
        deltas = np.max([_deltas(box.corner(), accounting, tuple(others.tolist())) for box in boxes], axis=0)
        method = _method(accounting, merged=len(boxes) < len(keys), boxes=len(boxes))
    # what holds at an epsilon holds at every larger one; a larger delta is never wrong
    bounds = np.maximum(np.where(others < epsilon, np.maximum(deltas, stated), np.minimum(deltas, stated)), _TINY)
    points = sorted([*zip(others.tolist(), bounds.tolist(), strict=True), (epsilon, stated)])
    falling = np.minimum.accumulate([d for _, d in points]).tolist()
    return Curve(
        method=method,
        mu=None if math.isnan(mu) else mu,
        points=tuple(zip((e for e, _ in points), falling, strict=True)),
    )


def _rounded(epsilon: float) -> float:
    return float(f"{epsilon:.4g}")


def _method(accounting: Accounting, *, merged: bool, boxes: int) -> str:
    how = f", {boxes} groups of similar participants, each by its worst corner" if merged else ""
    least = "PLD, RDP and analytic Gaussian" if accounting.accountant in ("pld", "prv") else "RDP and analytic Gaussian"
    return f"least of {least} upper bounds (dp-accounting {version('dp-accounting')}){how}"


@lru_cache(maxsize=4096)  # runs of one sweep often release the same
def _deltas(key: Key, accounting: Accounting, at: tuple[float, ...]) -> Deltas:
    """Each the least of the valid upper bounds at hand."""
    relation, epsilons = accounting.relation, np.array(at)
    found = [gaussian_deltas(_mu(key, relation), epsilons), _renyi(key, relation, epsilons, FAST_ORDERS, fast_curve)]
    if accounting.accountant not in ("pld", "prv"):
        found.append(_renyi(key, relation, epsilons, LIBRARY_ORDERS, library_curve))
    elif (composed := rough_pld(key, delta=accounting.delta, relation=relation)) is not None:
        with np.errstate(all="ignore"):
            found.append(np.asarray(composed.get_delta(epsilons)))
    return np.asarray(np.min(found, axis=0))


def _mu(key: Key, relation: Relation) -> float:
    """Of everything without amplification, which bounds every sampling."""
    return math.sqrt(sum(times * (r.sensitivity(relation) / r.noise_multiplier) ** 2 for r, times in key))


def _renyi(key: Key, relation: Relation, epsilons: Deltas, orders: Deltas, curve: Any) -> Deltas:
    from dp_accounting.rdp.rdp_privacy_accountant import compute_delta

    total = sum((np.asarray(curve(release, relation)) * times for release, times in key), np.zeros(len(orders)))
    return np.array([compute_delta(orders, total, float(epsilon))[0] for epsilon in epsilons])
