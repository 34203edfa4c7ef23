"""The smallest noise that meets a target epsilon."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from fedpriv.accounting.accountants import epsilon, fast_upper_bound, rough_epsilon
from fedpriv.accounting.boxes import lower_half, spread
from fedpriv.accounting.sampled_gaussian import (
    Accountant,
    Composition,
    Relation,
    SampledGaussian,
    check_accountable,
)
from fedpriv.errors import ConfigError

_SLACK = 1e-3  # relative, below the target: as close as a calibration needs to come
_ROUGH_SLACK = 1e-2  # what a coarse PLD is worth where it is really coarse
_PATIENCE, _LATE_SLACK = 4, 2e-2  # evaluations; more come closer only where epsilon is not smooth, for a tiny delta
_SLOPE = -1.2  # of log epsilon in log noise multiplier, until two points say better
_LEAST, _MOST = 1e-3, 1e6  # noise multipliers searched
_MAX_EVALUATIONS = 12
_MAX_BINS = 48


def calibrate(
    *,
    target_epsilon: float,
    delta: float,
    relation: Relation,
    accountant: Accountant,
    release_at: Callable[[float], Composition],
) -> float:
    """The smallest noise multiplier, rounded up to 6 decimals, whose epsilon is at most the target.

    Its epsilon lies within 0.1 % below the target, or 2 % where delta is near the accountant's rounding. A Rényi bound
    brackets the answer, coarse PLDs come near it, and two or three evaluations by the accountant finish.

    Args:
        target_epsilon: positive and finite.
        delta: in (0, 1).
        relation: neighbouring relation.
        accountant: who judges.
        release_at: noise multiplier -> everything that will be released (and was, where a budget is partly
            spent); its epsilon must fall as the noise multiplier grows.

    Raises:
        ConfigError: no noise multiplier up to 1e6 meets the target, nothing is released at all, or the
            combination cannot be accounted.
    """
    if not 0 < target_epsilon < math.inf:
        raise ConfigError(f"privacy.epsilon={target_epsilon} must be positive and finite to calibrate noise for it")
    if not any(times and release.rate for release, times in release_at(1.0).items()):
        raise ConfigError("nothing is released under this schedule, so there is no noise to calibrate")

    def fast(z: float) -> float:
        return fast_upper_bound(release_at(z), delta=delta, relation=relation)

    def rough(z: float) -> float:
        found = rough_epsilon(release_at(z), delta=delta, relation=relation, accountant=accountant)
        return found.value

    def exact(z: float) -> float:
        return epsilon(release_at(z), delta=delta, relation=relation, accountant=accountant).value

    # a PLD lies a tenth below the Rényi bound, or far below
    start, slope = _bracketed(fast, target_epsilon * (1.1 if accountant in ("pld", "prv") else 1.0)), _SLOPE
    if accountant in ("pld", "rdp"):
        start, slope = _smallest(rough, target_epsilon, start=start, slope=slope, slack=_ROUGH_SLACK)
    return _smallest(exact, target_epsilon, start=start, slope=slope, slack=_SLACK)[0]


def calibrate_clients(
    *,
    target_epsilon: float,
    delta: float,
    relation: Relation,
    accountant: Accountant,
    rates: npt.NDArray[np.float64],
    counts: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    """Each client's own noise multiplier for DP-SGD with Poisson batches.

    Clients alike in rate and count share one calibration. Beyond 48 different pairs they are binned, and each bin
    is calibrated at its largest rate and largest count, so that nobody exceeds the target.

    Args:
        rates: (clients,): sampling rate of each client's examples, min(1, batch size / examples).
        counts: (clients,): noisy steps that each client takes in the whole run.

    Returns:
        (clients,): noise multipliers; NaN for a client that takes no step.

    Raises:
        ConfigError: as ``calibrate``.
    """
    check_accountable(sampling="poisson", relation=relation, accountant=accountant)
    noise = np.full(len(rates), math.nan)
    active = np.flatnonzero((np.asarray(counts) > 0) & (np.asarray(rates) > 0))
    if active.size == 0:
        return noise
    pairs, pair_of = np.unique(
        np.column_stack([np.asarray(rates)[active], np.asarray(counts)[active]]), axis=0, return_inverse=True
    )
    of_pair = np.empty(len(pairs))
    for members in _bins(pairs):
        rate, steps = pairs[members].max(axis=0)
        of_pair[members] = calibrate(
            target_epsilon=target_epsilon,
            delta=delta,
            relation=relation,
            accountant=accountant,
            release_at=_steps_at(float(rate), int(steps)),
        )
    noise[active] = of_pair[pair_of.reshape(-1)]
    return noise


def _steps_at(rate: float, steps: int) -> Callable[[float], Composition]:
    def release_at(z: float) -> Composition:
        release = SampledGaussian(noise_multiplier=z, sampling="poisson", rate=rate, population=0, cohort=0)
        return {release: steps}

    return release_at


def _bins(pairs: npt.NDArray[np.float64]) -> Iterator[npt.NDArray[np.int64]]:
    """Indices of at most 48 bins of (pairs, 2) rates and counts: split again and again where a bin is widest.

    Epsilon goes about as rate x sqrt(count): a bin's width in logs bounds what its members are over-protected by.
    """
    coordinates = np.log(pairs) * np.array([1.0, 0.5])
    bins = [np.arange(len(pairs))]
    while len(bins) < min(_MAX_BINS, len(pairs)):
        widest = bins.pop(max(range(len(bins)), key=lambda b: spread(coordinates[bins[b]])))
        low = lower_half(coordinates[widest])
        bins += [widest[low], widest[~low]]
    return iter(bins)


def _rounded_up(z: float) -> float:
    return round(math.ceil(z * 1e6 - 1e-9) / 1e6, 6)


def _bracketed(bound: Callable[[float], float], target: float) -> float:
    """Where an upper bound on epsilon meets the target, to a percent."""
    low, high = 0.5, 1.0
    while bound(high) > target and high < _MOST:
        low, high = high, min(high * 2, _MOST)
    while bound(low) <= target and low > _LEAST:
        low, high = max(low / 2, _LEAST), low
    while high / low > 1.01:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if bound(middle) > target else (low, middle)
    return high


def _smallest(
    epsilon_at: Callable[[float], float], target: float, *, start: float, slope: float, slack: float
) -> tuple[float, float]:
    """Secant in logs from ``start``, kept inside a bracket; falls back to bisection.

    Returns:
        A multiplier rounded up to 6 decimals whose epsilon was evaluated and is at most the target; and
        d log epsilon / d log multiplier there.
    """
    aim = math.log(target * (1 - 0.4 * slack))
    bad, good, of_good = 0.0, math.inf, 0.0  # noise multipliers with epsilon above and not above the target
    z, seen = _rounded_up(start), list[tuple[float, float]]()
    for evaluations in range(1, _MAX_EVALUATIONS + 1):
        value = epsilon_at(z)
        if value > 0 and math.isfinite(value):
            seen.append((math.log(z), math.log(value)))
            slope = _slope(seen, slope)
        if value <= target:
            good, of_good = z, value
            if value >= target * (1 - slack) or z <= _LEAST:
                return z, slope
        else:
            bad = z
        if evaluations >= _PATIENCE and of_good >= target * (1 - _LATE_SLACK):
            return good, slope
        z = _rounded_up(math.exp(_next(seen, aim, slope, z, value <= target)))
        if not bad < z < good:
            if good == math.inf:
                z = _rounded_up(bad * 1.5)
            elif bad == 0:
                z = _rounded_up(good / 1.5)
            else:
                z = _rounded_up(math.sqrt(bad * good))
        if z > _MOST:
            break
        if z >= good:  # neighbours on the grid of 6 decimals
            return good, slope
    if math.isfinite(good):
        return good, slope
    raise ConfigError(
        f"privacy.epsilon={target} cannot be met by any noise multiplier up to {_MOST:g}: ask for a larger epsilon, "
        "fewer rounds, or another privacy.accountant"
    )


def _slope(seen: list[tuple[float, float]], known: float) -> float:
    """Through the last two points (log noise, log epsilon), where there are two."""
    if len(seen) < 2 or seen[-2][0] == seen[-1][0]:
        return known
    (x0, y0), (x, y) = seen[-2:]
    return min(max((y - y0) / (x - x0), -50.0), -0.3)


def _next(seen: list[tuple[float, float]], aim: float, slope: float, z: float, met: bool) -> float:
    """Log of the next noise multiplier to try."""
    if not seen or seen[-1][0] != math.log(z):  # epsilon was 0 or infinite here
        return math.log(z) + (-0.5 if met else 0.5)
    x, y = seen[-1]
    return x + min(max((aim - y) / slope, -0.75), 0.75)
