"""The axis of epsilon that figures share: logarithmic, and beyond its end a place for what has none."""

import math
from collections.abc import Sequence
from itertools import pairwise

import altair as alt

from .panels import APART, Setting, said

_MOST_TICKS = 9
_LEAST = 1e-4  # where the axis begins
_TICKS = [m * 10**e for e in range(-4, 7) for m in (1, 2, 5)]


class EpsilonAxis:
    """A logarithmic axis of epsilon, and beyond its end a place for each kind of setting that has none."""

    def __init__(self, settings: Sequence[Setting]) -> None:
        epsilons = [setting.epsilon for setting in settings if setting.epsilon is not None] or [1.0]
        low, high = (max(end, _LEAST) for end in (min(epsilons), max(epsilons)))
        step = max(1.9, (high / low) ** 0.22)
        apart = [budget for budget in APART if any(setting.budget == budget for setting in settings)]
        self._low = low
        self.places = {budget: high * step ** (n + 1) for n, budget in enumerate(apart)}
        self.end = high * step**0.5
        self.domain = [low / step**0.4, high * step ** (len(apart) + 0.5) if apart else high * step**0.4]
        own = sorted({float(said(epsilon)) for epsilon in epsilons})
        ticks = own if _far_apart(own) else [tick for tick in _TICKS if low / 1.05 <= tick <= high * 1.05]
        self.ticks = [*ticks[:: math.ceil(len(ticks) / _MOST_TICKS) or 1], *self.places.values()]
        self.title = "epsilon (log scale)"
        self.labels = "format(datum.value, '~g')"
        for budget, place in self.places.items():  # a line a word: phones are narrow
            self.labels = f"abs(datum.value - {place}) < {place * 1e-6} ? split('{budget}', ' ') : {self.labels}"

    @property
    def channel(self) -> alt.X:
        """Of the field ``place``."""
        return alt.X(
            "place:Q",
            title=self.title,
            scale=alt.Scale(type="log", domain=self.domain, nice=False),
            axis=alt.Axis(values=self.ticks, labelExpr=self.labels, grid=False, labelOverlap=False),
        )

    @property
    def wash(self) -> alt.Chart:
        """A tint behind what has no epsilon."""
        tint = alt.Chart(alt.InlineData(values=[{"from": self.end, "to": self.domain[1]}]))
        return tint.mark_rect(style="quiet", opacity=0.06).encode(x=alt.X("from:Q"), x2="to:Q")

    def place(self, setting: Setting, epsilon: float | None) -> float:
        """Where a point of this setting stands."""
        return self.places[setting.budget] if epsilon is None else max(epsilon, self._low)


def _far_apart(epsilons: Sequence[float]) -> bool:
    """Whether each can have a tick of its own."""
    whole = max(1.0, math.log(max(epsilons[-1], _LEAST) / max(epsilons[0], _LEAST)))
    steps = [math.log(max(right, _LEAST) / max(left, _LEAST)) for left, right in pairwise(epsilons)]
    return len(epsilons) <= _MOST_TICKS and all(step > whole / 12 for step in steps)
