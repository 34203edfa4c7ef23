"""Epsilon of what was released: one function, four accountants, never less than the truth.

Values are upper bounds (PRV: the upper end of its error interval). Closed forms serve where nothing is sampled,
whichever accountant was asked; a fast Rényi bound serves progress bars and brackets.
"""

import heapq
import math
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import version
from itertools import count as counter
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fedpriv.accounting.boxes import Box, Key, alike_in_noise, at_most, by_shape, in_order, spread
from fedpriv.accounting.gaussian_dp import METHOD, gaussian_epsilon
from fedpriv.accounting.release import Accountant, Composition, Loss, Relation, Release, Sampling
from fedpriv.accounting.renyi import (
    COARSE_ORDERS,
    FAST_ORDERS,
    LIBRARY_ORDERS,
    coarse_curve,
    fast_curve,
    library_curve,
    truncation,
)
from fedpriv.accounting.sampled_gaussian import SampledGaussian, check_accountable
from fedpriv.errors import ConfigError

if TYPE_CHECKING:
    from fedpriv.accounting.privacy_loss import ComposedLoss

# dp_accounting takes a second to import: only where something is accounted, which no worker does

__all__ = [
    "Accountant",
    "Composition",
    "Epsilon",
    "Relation",
    "SampledGaussian",
    "Sampling",
    "check_accountable",
    "epsilon",
    "fast_upper_bound",
    "max_epsilon",
    "max_fast_upper_bound",
    "rough_epsilon",
]

_NO_NOISE = 1e-6  # noise multipliers below this are not told from 0
_LARGE = 300.0  # beyond this epsilon a PLD would cost gigabytes, and nobody reads its third digit
_PLD_ERROR, _ROUGH_PLD_ERROR = 3.5e-4, 5e-3  # aimed at, absolute, always upwards
_PLD_STEP_POINTS, _PLD_POINTS = 100_000, 4_000_000  # half a second, and half a gigabyte
_ROUGH_STEP_POINTS, _ROUNDED_STEP_POINTS = 10_000, 30_000
_PRV_POINTS = 4_000_000
_PRV_ROUNDING = 1e-13

_GaussianKey = Sequence[tuple[SampledGaussian, int]]


@dataclass(frozen=True)
class Epsilon:
    """An upper bound on epsilon, and the method in words."""

    value: float
    method: str


def epsilon(composition: Composition, *, delta: float, relation: Relation, accountant: Accountant) -> Epsilon:
    """Epsilon at ``delta`` of a whole composition; memoised.

    Nothing released costs 0; a release without noise costs ``math.inf``.

    Raises:
        ConfigError: a delta outside (0, 1), a combination without a valid bound (``check_accountable``), or
            parameters at which the accountant asked for breaks down.
    """
    return _epsilon(canonical(composition), _checked(delta), relation, accountant, _PLD_ERROR)


def rough_epsilon(composition: Composition, *, delta: float, relation: Relation, accountant: Accountant) -> Epsilon:
    """Like ``epsilon``, for ``pld`` and ``rdp`` at a tenth of the price and mostly a percent above; still a bound."""
    key = canonical(composition)
    return _epsilon(key, _checked(delta), relation, accountant, _ROUGH_PLD_ERROR)


def fast_upper_bound(composition: Composition, *, delta: float, relation: Relation) -> float:
    """A Rényi upper bound on epsilon in milliseconds (microseconds where rates and noise were seen before)."""
    return _fast(canonical(composition), _checked(delta), relation)


def max_epsilon(
    compositions: Sequence[Composition],
    *,
    delta: float,
    relation: Relation,
    accountant: Accountant,
    within: float = math.inf,
) -> tuple[Epsilon, int]:
    """The largest epsilon of many compositions (clients, say), and the index of one that attains it.

    Where there are too many to judge each, and the bound of similar ones together is above ``within``, each is judged
    all the same: in seconds a composition.

    Best first over boxes of similar compositions: a box costs at most what its worst corner (least noise, highest
    rate, most releases) does, since epsilon falls with noise and grows with rate and count.
    """
    _checked(delta)
    stages: list[Callable[[Key], Epsilon]] = [lambda key: Epsilon(_fast(key, delta, relation), "")]
    if accountant == "pld":
        stages.append(lambda key: _epsilon(key, delta, relation, accountant, _ROUGH_PLD_ERROR))
    stages.append(lambda key: _epsilon(key, delta, relation, accountant, _PLD_ERROR))
    keys = [canonical(composition) for composition in compositions]
    for sampling in {r.sampling for key in keys for r, _ in key if isinstance(r, SampledGaussian)}:
        check_accountable(sampling=sampling, relation=relation, accountant=accountant)
    bound, index = _largest(keys, stages)
    return _largest(keys, stages, patience=math.inf) if bound.value > within else (bound, index)


def max_fast_upper_bound(compositions: Sequence[Composition], *, delta: float, relation: Relation) -> tuple[float, int]:
    """The largest ``fast_upper_bound`` of many compositions, and the index of one that attains it."""
    _checked(delta)
    keys = [canonical(composition) for composition in compositions]
    worst, index = _largest(keys, [lambda key: Epsilon(_fast(key, delta, relation), "")])
    return worst.value, index


# --- one composition -------------------------------------------------------------------------------------------


def _checked(delta: float) -> float:
    if not 0 < delta < 1:
        raise ConfigError(f"privacy.delta={delta} must lie between 0 and 1")
    return float(delta)


def canonical(composition: Composition) -> Key:
    """Sorted, without releases that cost nothing; a sample of everybody is no sample."""
    counts: dict[Release, int] = {}
    for release, times in composition.items():
        if times < 0:
            raise ConfigError(f"a release cannot have happened {times} times")
        if times == 0 or release.rate == 0 or math.isinf(release.noise_multiplier):
            continue
        if release.rate == 1 and release.sampling in ("poisson", "fixed_size"):
            release = release.unsampled()
        counts[release] = counts.get(release, 0) + int(times)
    return in_order(counts)


@lru_cache(maxsize=65536)
def _epsilon(key: Key, delta: float, relation: Relation, accountant: Accountant, error: float) -> Epsilon:
    if (own := own_loss(key, relation)) is not None:
        return Epsilon(own.epsilon(delta), own.method)
    samplings = {release.sampling for release, _ in key}
    if relation == "replace_one" and {"poisson", "fixed_size"} <= samplings:
        raise ConfigError(
            "no accountant judges Poisson and fixed-size sampling together under replace-one: use one sampling"
        )
    for sampling in samplings:
        check_accountable(sampling=sampling, relation=relation, accountant=accountant)
    if not key:
        return Epsilon(0.0, "nothing released")
    if _noiseless(key):
        return Epsilon(math.inf, "no noise")
    if samplings == {"all"}:
        return Epsilon(_closed_form(key, delta, relation), METHOD)
    if accountant == "pld":
        return _pld(key, delta, relation, error)
    if accountant == "prv":
        return _prv(key, delta, relation)
    if accountant == "rdp":
        return _rdp(key, delta, relation, error)
    return _opacus_rdp(key, delta, relation)


def _noiseless(key: Key) -> bool:
    return any(release.noise_multiplier < _NO_NOISE for release, _ in key)


def own_loss(key: Key, relation: Relation) -> Loss | None:
    """What releases of another law than the Gaussian tell together; None where it is Gaussian, or there is no noise."""
    if not key or _noiseless(key) or isinstance(key[0][0], SampledGaussian):
        return None
    return _own_loss(key, relation)


@lru_cache(maxsize=4096)
def _own_loss(key: Any, relation: Relation) -> Loss:
    loss: Loss = type(key[0][0]).loss(key, relation)
    return loss


def _closed_form(key: Key, delta: float, relation: Relation) -> float:
    """Without amplification: Gaussian DP with mu = s sqrt(sum 1/z^2). Valid for every sampling."""
    mu = math.sqrt(
        sum(times * (release.sensitivity(relation) / release.noise_multiplier) ** 2 for release, times in key)
    )
    return gaussian_epsilon(mu, delta)


def _renyi(
    key: Key, delta: float, relation: Relation, orders: npt.NDArray[np.float64], curve: Callable[..., object]
) -> float:
    from dp_accounting.rdp import compute_epsilon

    total = sum((np.asarray(curve(release, relation)) * times for release, times in key), np.zeros(len(orders)))
    return float(min(compute_epsilon(orders, total, delta)[0], _closed_form(key, delta, relation)))


@lru_cache(maxsize=262144)
def _fast(key: Key, delta: float, relation: Relation) -> float:
    if (own := own_loss(key, relation)) is not None:
        return own.fast_epsilon(delta)
    if relation == "add_or_remove_one" and any(release.sampling == "fixed_size" for release, _ in key):
        check_accountable(sampling="fixed_size", relation=relation, accountant="rdp")
    if not key or _noiseless(key):
        return math.inf if key else 0.0
    return _renyi(key, delta, relation, FAST_ORDERS, fast_curve)


def _rdp(key: Key, delta: float, relation: Relation, error: float) -> Epsilon:
    if error == _ROUGH_PLD_ERROR:
        return Epsilon(_renyi(key, delta, relation, COARSE_ORDERS, coarse_curve), "RDP upper bound (few orders)")
    value = _renyi(key, delta, relation, LIBRARY_ORDERS, library_curve)
    return Epsilon(
        value, f"RDP upper bound (dp-accounting {version('dp-accounting')}), capped by the analytic Gaussian"
    )


def _pld(key: Key, delta: float, relation: Relation, error: float) -> Epsilon:
    bound = _fast(key, delta, relation)
    if bound > _LARGE:
        return _instead_of_pld(key, delta, relation, error)
    composed, interval = _composed_pld(key, delta, relation, bound, error)
    with np.errstate(all="ignore"):
        value = composed.get_epsilon(delta)
    if not value <= bound:  # a delta near the float error of convolution gives infinity
        return _instead_of_pld(key, delta, relation, error)
    return Epsilon(value, f"PLD (dp-accounting {version('dp-accounting')}, discretisation {interval:.2g})")


def _instead_of_pld(key: Key, delta: float, relation: Relation, error: float) -> Epsilon:
    bound = _fast(key, delta, relation)
    if relation != "replace_one" and all(release.sampling != "capped_poisson" for release, _ in key):
        bound = min(bound, _rdp(key, delta, relation, error).value)
    return Epsilon(bound, "RDP upper bound (epsilon too large, or delta too small, for a PLD)")


def rough_pld(key: Key, *, delta: float, relation: Relation) -> "ComposedLoss | None":
    """Everything composed on the grid of ``rough_epsilon`` at ``delta``; None where epsilon is too large for a PLD."""
    bound = _fast(key, _checked(delta), relation)
    return None if bound > _LARGE else _composed_pld(key, delta, relation, bound, _ROUGH_PLD_ERROR)[0]


def _composed_pld(
    key: Key, delta: float, relation: Relation, bound: float, error: float
) -> "tuple[ComposedLoss, float]":
    """Everything composed, and its grid's interval."""
    from fedpriv.accounting.privacy_loss import compose

    gaussian: _GaussianKey = [(release, times) for release, times in key if isinstance(release, SampledGaussian)]
    interval = _pld_interval(gaussian, delta, relation, bound, error)
    with np.errstate(all="ignore"):
        return compose(gaussian, relation=relation, interval=interval), interval


def _pld_interval(key: _GaussianKey, delta: float, relation: Relation, bound: float, error: float) -> float:
    """The widest grid that keeps the discretisation error of epsilon near ``error``.

    Connecting the dots over an interval h spreads each loss by a variance of about h^2 / 6 and shifts its mean by
    half of that, so T releases with a total standard deviation s raise epsilon by about
    T h^2 / 12 (1 + sqrt(2 ln 1/delta) / s). The tests hold it against finer grids.
    """
    steps = sum(times for _, times in key)
    variance, reach = 0.0, 0.0
    for release, times in key:
        z, q = release.noise_multiplier, release.rate
        if release.sampling == "capped_poisson":
            z, q = z / 2, max(q, truncation(release, relation)[1])  # the widest of its mixture
        x = min(z**-2, 5.0)
        variance += times * q**2 * (4 * math.sinh(x) if relation == "replace_one" else math.expm1(x))
        reach = max(reach, math.log1p(q * math.expm1(min(10.5 / z + 0.5 / z**2, 700.0))))
    wanted = math.sqrt(12 * error / (steps * (1 + math.sqrt(-2 * math.log(delta) / variance))))
    points = _PLD_STEP_POINTS if error == _PLD_ERROR else _ROUGH_STEP_POINTS
    if 1e-14 * steps > delta:  # a finer grid only brings more rounding, which delta pays for
        points = min(points, _ROUNDED_STEP_POINTS)
    affordable = max(reach / points, 4 * bound / _PLD_POINTS)
    return max(min(wanted, 4e-3 * math.sqrt(error / _PLD_ERROR)), affordable)


def _opacus_rdp(key: Key, delta: float, relation: Relation) -> Epsilon:
    from opacus.accountants import RDPAccountant
    from opacus.accountants.analysis.rdp import get_privacy_spent

    orders = RDPAccountant.DEFAULT_ALPHAS
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            curve = sum(_opacus_curve(release.rate, release.noise_multiplier) * times for release, times in key)
            value, order = get_privacy_spent(orders=orders, rdp=curve, delta=delta)
        except (ArithmeticError, ValueError) as error:
            raise _broke_down("opacus_rdp", error) from error
    # Beyond its largest order (63) the bound is valid but loose, as in a run's first rounds: said, not refused
    loose = ", loose: its largest order" if order == orders[-1] else ""
    capped = min(float(np.nan_to_num(value, nan=math.inf)), _closed_form(key, delta, relation))
    return Epsilon(max(0.0, capped), f"RDP upper bound (Opacus {version('opacus')}{loose})")


@lru_cache(maxsize=4096)
def _opacus_curve(rate: float, noise_multiplier: float) -> npt.NDArray[np.float64]:
    from opacus.accountants import RDPAccountant
    from opacus.accountants.analysis.rdp import compute_rdp

    orders = RDPAccountant.DEFAULT_ALPHAS
    return np.asarray(compute_rdp(q=rate, noise_multiplier=noise_multiplier, steps=1, orders=orders))


def _prv(key: Key, delta: float, relation: Relation) -> Epsilon:
    from opacus.accountants import PRVAccountant

    steps = sum(times for _, times in key)
    rounding = _PRV_ROUNDING + 4 * sys.float_info.epsilon * steps  # of its convolutions, which delta pays for
    if rounding > delta / 2:
        raise _broke_down("prv", f"delta {delta:.2g} is near its rounding")
    # Its domain and mesh (Gopi et al. 2021, remark 5.6), with its eps_error 0.01 and delta_error delta / 1000
    reach = _fast(key, delta / 4000, relation) + 3
    points = 2 * reach / 0.01 * math.sqrt(steps * math.log(12_000 / delta) / 2)
    if points > _PRV_POINTS:
        raise _broke_down("prv", "epsilon or the number of releases is too large for it")
    accountant = PRVAccountant()
    accountant.history = [(release.noise_multiplier, release.rate, times) for release, times in key]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            value = float(accountant.get_epsilon(delta - rounding))
        except (ArithmeticError, ValueError, RuntimeError, IndexError, MemoryError) as error:
            raise _broke_down("prv", error) from error
    if not math.isfinite(value):
        raise _broke_down("prv", f"it gives {value}")
    return Epsilon(max(0.0, value), f"PRV (Opacus {version('opacus')}, upper end of its error interval)")


def _broke_down(accountant: str, why: object) -> ConfigError:
    return ConfigError(
        f"privacy.accountant={accountant} breaks down at these parameters ({why}): set privacy.accountant=pld"
    )


# --- many compositions -----------------------------------------------------------------------------------------

_FEW = 256  # different compositions, whose largest epsilon is always found exactly
_PATIENCE = 256  # evaluations beyond the Rényi bound that finding it among more of them may take: seconds to a minute
_MOST_BOXES = 64
_SIMILAR = 0.1  # in log epsilon, roughly: a box wider than this says too little to be worth a PLD


def _largest(
    keys: Sequence[Key], stages: Sequence[Callable[[Key], Epsilon]], *, patience: float | None = None
) -> tuple[Epsilon, int]:
    """Branch and bound; ``stages`` are ever closer and dearer upper bounds, the last one the answer.

    Of more than 256 different compositions, so many may be so close that all would have to be judged one by one:
    then, after ``patience`` evaluations (by default 256), the answer is the bound of a box.
    """
    if not keys:
        raise ConfigError("there is no composition to take the maximum of")
    first: dict[Key, int] = {}
    for index, key in enumerate(keys):
        first.setdefault(key, index)
    positions = list(first.values())
    tie = counter()
    heap: list[tuple[float, int, int, Epsilon, Box]] = []

    def push(box: Box, stage: int, known: float) -> None:
        bound = stages[stage](box.corner())
        # a later stage never says more than an earlier one: what both bound is bounded by the smaller
        heapq.heappush(heap, (-min(bound.value, known), next(tie), stage, bound, box))

    for box in by_shape(list(first)):
        push(box, 0, math.inf)
    if patience is None:
        patience = math.inf if len(first) <= _FEW else _PATIENCE
    while True:
        negative, _, stage, bound, box = heapq.heappop(heap)
        alone = len(box.indices) == 1
        if alone and stage == len(stages) - 1:
            return bound, positions[int(box.indices[0])]
        if patience <= 0:
            bound, member = _binned(list(first), stages)
            return replace(bound, value=min(bound.value, -negative)), positions[member]
        worth = alone or spread(box.coordinates()) <= _SIMILAR
        if worth and stage < len(stages) - 1 and (alone or stage == 0):
            push(box, stage + 1, -negative)
            patience -= 1
        else:
            for half in box.halves():
                push(half, 0, -negative)


def _binned(keys: Sequence[Key], stages: Sequence[Callable[[Key], Epsilon]]) -> tuple[Epsilon, int]:
    """An upper bound by the corners of at most 64 boxes, and the member nearest to the dearest corner.

    Where noise was calibrated in bins, these are the boxes: their corners are what it was calibrated at, so that it
    stays within its target.
    """
    boxes = alike_in_noise(keys)
    if len(boxes) > _MOST_BOXES:
        boxes = at_most(_MOST_BOXES, keys)
    boxes.sort(key=lambda box: -stages[0](box.corner()).value)
    worst, dearest = stages[-1](boxes[0].corner()), boxes[0]
    for box in boxes[1:]:
        if stages[0](box.corner()).value <= worst.value:
            break
        bound = stages[-1](box.corner())
        if bound.value > worst.value:
            worst, dearest = bound, box
    return replace(worst, method=f"{worst.method}, over bins of similar clients"), dearest.nearest_to_corner()
