"""Epsilons that a mechanism cannot be below, whatever accountant judges it.

One pair of neighbouring datasets is enough for a lower bound: choose everybody's contributions, write down the two laws
of the noisy sum, look at the outputs through bins (data processing), and compose the binned losses, each rounded
down. Nothing here comes from fedpriv, nor from an accounting library.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from oracles import Mixture, Pair, Releases, gaussian, poisson, poisson_replaced
from scipy import stats
from scipy.special import ndtr

Binned = tuple[np.ndarray, np.ndarray]
"""Probabilities (bins,) of the same bins under p and under q."""

_FLOAT_ERROR = 1e-11  # of sums of FFTs of probabilities; a bound on delta below it says nothing


# -- neighbouring datasets -----------------------------------------------------------------------------------


def hard_pairs(sampling: str, relation: str, *, rate: float, std: float, population: int, cohort: int) -> list[Pair]:
    """Pairs of neighbours whose noisy sums are far apart, for one release with clipping norm 1.

    One target contributes +1 on one side, and on the other -1 (replace-one), 0 (zero-out), or is not there. Where
    cohorts have a size, who comes pushes another out: then the others' contributions count, and they are all 0 or
    all -1. For fixed size the latter is the pair of Lebeda et al. (arXiv 2405.20769), Theorem 12: the sums are -m and
    -m + 2 instead of 0 and 1.

    Args:
        rate: chance of one unit to be in the sample (before any cap).
        std: of the noise.
        cohort: size of a fixed-size cohort, or the cap of a capped Poisson one.
    """
    replacement = -1 if relation == "replace_one" else 0
    if sampling == "all":
        return [gaussian(1.0 - replacement, std)]
    if sampling == "poisson":
        return [poisson_replaced(rate, std) if replacement else poisson(rate, std)]
    if sampling == "fixed_size":
        sums = (tuple(((1 - rate, 0.0), (rate, float(own - other))) for own in (1, replacement)) for other in (0, -1))
        return [Pair(p, q, std) for p, q in sums]
    absent = relation == "add_or_remove_one"
    law = stats.binom(population - 1, rate)
    return [
        Pair(
            _capped_sums(law, rate, cohort, own=1, other=other),
            _capped_sums(law, 0.0 if absent else rate, cohort, own=replacement, other=other),
            std,
        )
        for other in (0, -1)
    ]


def _capped_sums(others: stats.rv_discrete, rate: float, cap: int, *, own: int, other: int) -> Mixture:
    """Sums of a capped Poisson cohort: ``others`` is the law of how many others come; each contributes ``other``."""
    sums: dict[float, float] = {}

    def add(total: float, chance: float) -> None:
        sums[total] = sums.get(total, 0.0) + chance

    for came in range(int(others.support()[1]) + 1):
        chance = float(others.pmf(came))
        stays = min(1.0, cap / (came + 1))
        add(other * min(came, cap), chance * (1 - rate * stays))
        add(other * min(came, cap - 1) + own, chance * rate * stays)
    return tuple((weight, total) for total, weight in sums.items() if weight > 0)


def shared_coin(client_rate: float, rate: float, std: float, steps: int) -> Binned:
    """One round of a client that one coin includes, and each of whose batches includes the target by its own coin;
    nobody else contributes. The observer counts the steps above 1/2.

    The steps share the client's coin: this is not ``steps`` releases at client_rate * rate.
    """
    above = (1 - rate) * ndtr(-0.5 / std) + rate * ndtr(0.5 / std)
    counts = np.arange(steps + 1)
    without = stats.binom(steps, ndtr(-0.5 / std)).pmf(counts)
    there = stats.binom(steps, above).pmf(counts)
    return (1 - client_rate) * without + client_rate * there, without


# -- from pairs to epsilon -------------------------------------------------------------------------------------


def binned(pair: Pair) -> Binned:
    """Outputs seen through bins a fiftieth of the noise wide, and two tails."""
    means = [mean for _, mean in pair.p + pair.q]
    edges = np.arange(min(means) - 9 * pair.std, max(means) + 9 * pair.std, pair.std / 50)
    return _masses(pair.p, pair.std, edges), _masses(pair.q, pair.std, edges)


def _masses(mixture: Mixture, std: float, edges: np.ndarray) -> np.ndarray:
    weights, means = np.array(mixture).T
    at = (edges[:, None] - means) / std
    # differences on the side where they do not cancel
    inner = np.where(at[1:] < 0, ndtr(at[1:]) - ndtr(at[:-1]), ndtr(-at[:-1]) - ndtr(-at[1:])) @ weights
    return np.concatenate([[ndtr(at[0]) @ weights], inner, [ndtr(-at[-1]) @ weights]])


def epsilon_at_least(releases: Sequence[tuple[Binned, int]], delta: float, *, precision: float) -> float:
    """A lower bound on epsilon at ``delta`` of a composition of binned releases, in both directions.

    delta(epsilon) = E_p[(1 - e^(epsilon - loss))_+] grows with the loss, so losses rounded down to a grid bound it from
    below; what falls out of the window of the FFT is subtracted. Rounding costs at most ``precision`` in epsilon.
    """
    swapped = [((q, p), times) for (p, q), times in releases]
    return max(_one_way(releases, delta, precision), _one_way(swapped, delta, precision))


def _one_way(releases: Sequence[tuple[Binned, int]], delta: float, precision: float) -> float:
    step = precision / sum(times for _, times in releases)
    parts = []
    for (p, q), times in releases:
        seen = (p > 0) & (q > 0)
        parts.append((np.floor(np.log(p[seen] / q[seen]) / step).astype(np.int64), p[seen], times))
    low, high = _window(parts, step)
    size = 1 << math.ceil(math.log2(high - low + 1))
    spectrum = np.ones(size // 2 + 1, dtype=complex)
    for losses, mass, times in parts:
        spectrum *= np.fft.rfft(np.bincount(losses % size, mass, minlength=size)) ** times
    composed = np.maximum(np.fft.irfft(spectrum, size), 0)
    losses = (low + np.arange(size)) * step
    composed = np.roll(composed, -low)  # position i holds the loss low + i, modulo size
    # delta(epsilon) for every epsilon on the grid: mass above minus e^epsilon times tilted mass above
    above = np.cumsum(composed[::-1])[::-1]
    tilted = np.cumsum((composed * np.exp(-np.clip(losses, -600, 600)))[::-1])[::-1]
    with np.errstate(over="ignore", invalid="ignore"):
        deltas = above - np.exp(losses) * tilted - 2 * _FLOAT_ERROR
    exceeded = np.flatnonzero((deltas > delta) & (losses > 0))
    return float(losses[exceeded[-1]]) if exceeded.size else 0.0


def _window(parts: Sequence[tuple[np.ndarray, np.ndarray, int]], step: float) -> tuple[int, int]:
    """Losses (in steps) outside of which less than the float error lies on either side, by Chernoff's bound."""

    def reach(sign: int) -> int:
        ends = []
        for tilt in np.geomspace(0.05, 200, 60):
            log_moment = sum(
                times * _logsumexp(sign * tilt * losses * step + np.log(mass)) for losses, mass, times in parts
            )
            ends.append((log_moment - math.log(_FLOAT_ERROR)) / tilt)
        return math.ceil(max(min(ends), 0.0) / step) + 1

    return -reach(-1), reach(1)


def _logsumexp(values: np.ndarray) -> float:
    top = float(values.max())
    return top + math.log(float(np.exp(values - top).sum()))


def epsilon_of_pairs(releases: Releases, delta: float, *, precision: float = 0.01) -> float:
    """The same for pairs of Gaussian mixtures."""
    return epsilon_at_least([(binned(pair), times) for pair, times in releases], delta, precision=precision)


def worst_epsilon(choices: Sequence[tuple[Sequence[Pair], int]], delta: float, *, precision: float = 0.01) -> float:
    """The largest lower bound over every choice of one hard pair for each release."""
    counts = [times for _, times in choices]
    return max(
        epsilon_of_pairs(list(zip(pairs, counts, strict=True)), delta, precision=precision)
        for pairs in itertools.product(*(pairs for pairs, _ in choices))
    )
