"""What several seeds say: means with intervals, paired differences, and which settings no other beats."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

CONFIDENCE = 0.95
_ROUNDING = 1e-9  # relative: what differs by less does not vary


@final
@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % confidence interval (Student's t); ``low`` and ``high`` are None where n = 1."""

    mean: float
    low: float | None
    high: float | None
    n: int


@final
@dataclass(frozen=True)
class Difference:
    """Mean of paired differences with its 95 % interval and the p-value of a paired t test, two-sided.

    ``p_value`` is None where there is no test: fewer than two pairs, or differences that do not vary.
    """

    interval: Interval
    p_value: float | None


def mean_interval(values: Sequence[float]) -> Interval:
    """Mean and interval of independent values, such as one a seed.

    Raises:
        ValueError: no value.
    """
    n = len(values)
    if not n:
        raise ValueError("a mean of no values")
    mean = math.fsum(values) / n
    if n == 1:
        return Interval(mean, None, None, 1)
    from scipy import stats

    spread = math.hypot(*(value - mean for value in values)) / math.sqrt(n - 1)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * spread / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


def paired_difference(a: Mapping[Any, float], b: Mapping[Any, float]) -> Difference | None:
    """a - b over the seeds that both have; None where they share none."""
    differences = [a[seed] - b[seed] for seed in a if seed in b]
    if not differences:
        return None
    interval = mean_interval(differences)
    size = max(1.0, *map(abs, a.values()), *map(abs, b.values()))
    if interval.n == 1 or max(differences) - min(differences) <= _ROUNDING * size:
        return Difference(Interval(interval.mean, None, None, interval.n), None)
    from scipy import stats

    return Difference(interval, float(stats.ttest_1samp(differences, 0.0).pvalue))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for as many tests as there are (Holm 1979), which bounds the chance of any false finding."""
    order = sorted(range(len(p_values)), key=lambda n: p_values[n])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, n in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[n]))
        adjusted[n] = largest
    return adjusted


def adjusted_p_values(differences: Sequence[Difference | None]) -> list[float | None]:
    """Of each its p-value, adjusted for all that were tested here; None where nothing was."""
    tested = [d.p_value for d in differences if d is not None and d.p_value is not None]
    adjusted = iter(holm(tested))
    return [None if d is None or d.p_value is None else next(adjusted) for d in differences]


def pareto_front(points: Sequence[tuple[float | None, float | None]], *, higher_is_better: bool) -> list[int]:
    """Indices of the (epsilon, value) points that no other beats, by growing epsilon.

    A point is beaten by one with no more epsilon and no worse value that is better in one of the two. A point without
    an epsilon claims nothing, and is not on the front; nor is one without a value.
    """
    sign = 1.0 if higher_is_better else -1.0
    known = [(e, sign * v, n) for n, (e, v) in enumerate(points) if e is not None and v is not None]
    front = list[tuple[float, float, int]]()
    for point in sorted(known, key=lambda p: (p[0], -p[1])):
        if not front or point[1] > front[-1][1] or point[:2] == front[-1][:2]:
            front.append(point)
    return [n for _, _, n in front]
