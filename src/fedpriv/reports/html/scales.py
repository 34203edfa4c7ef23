"""How far an axis of measured values goes."""

import math
from collections.abc import Callable, Iterable, Sequence
from statistics import median

import altair as alt

from .numbers import is_share

_ROOM = 0.04  # of the height, above and below
_DIVERGED = 1e3
_BEYOND = 2.0  # heights of a typical curve


Ends = Sequence[tuple[float, float]]


def ordinary(values: Iterable[float]) -> Callable[[float], bool]:
    """Which values can stand in one figure: those that are not a thousand times as large as typical ones."""
    sizes = [abs(value) for value in values]
    most = _DIVERGED * median(sizes) if sizes else math.inf
    return lambda value: most == 0 or abs(value) <= most


def within(value: float | None, scale: alt.Scale) -> float | None:
    """``value``, or not far outside of the scale: a path through 1e37 is none that a browser draws."""
    low, high = scale.domain
    room = high - low
    return None if value is None else min(max(value, low - room), high + room)


def value_scale(ends: Ends, *, typical: Ends, metric: str) -> alt.Scale:
    """The scale of an axis: a share stays within 0 and 1, and what diverged does not flatten the rest.

    Args:
        ends: lowest and highest of everything that is drawn, an interval each.
        typical: lowest and highest of each curve; the axis ends two heights beyond their medians. Empty: it shows
            everything.
    """
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    if typical and (height := _BEYOND * median(top - bottom for bottom, top in typical)) > 0:
        low = max(low, median(bottom for bottom, _ in typical) - height)
        high = min(high, median(top for _, top in typical) + height)
    room = _ROOM * (high - low or abs(high) or 1.0)
    least = 0.0 if min(low for low, _ in ends) >= 0 else -math.inf
    low, high = max(low - room, least), high + room
    if is_share(metric):
        low, high = max(low, 0.0), min(high, 1.0)
    return alt.Scale(domain=[low, high], nice=True, zero=False)
