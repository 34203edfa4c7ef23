"""How a number moves from the least private setting to the most private one, and how sure that is."""

from collections.abc import Callable
from dataclasses import dataclass

from fedpriv.runs.cost import seed_by_seed
from fedpriv.runs.statistics import Difference, Interval

from ..by_setting import Measure, by_seed, interval_of
from ..numbers import possible
from ..panels import Setting
from .course import Course, at

Say = Callable[[float], str]


@dataclass(frozen=True, kw_only=True)
class Movement:
    """A number at both ends of a course.

    Attributes:
        least, most: the least and the most private of the settings that it was measured at; the same, if there is one.
        start, end: it there, over seeds.
        change: end minus start, seed by seed; None: they share no seeds, or there is one setting.
        metric: what it is; a share's interval is said as far as 0 and 1.
    """

    least: Setting
    most: Setting
    start: Interval
    end: Interval
    change: Difference | None
    metric: str

    @property
    def moved(self) -> bool | None:
        """Whether the change's interval leaves 0 out; None: not known, with one seed or one setting."""
        if self.change is None or self.change.interval.low is None or self.change.interval.high is None:
            return None
        return not self.change.interval.low <= 0 <= self.change.interval.high

    def said(self, say: Say | None = None) -> str:
        """From what to what, by how much, and whether that is more than seeds explain."""
        tell = say or _three_digits
        if self.least is self.most:
            return f"{self._value(self.start, tell)} {at(self.least)}"
        ends = f"{self._value(self.start, tell)} {at(self.least)}, {self._value(self.end, tell)} {at(self.most)}"
        return f"{ends}{self._change(tell)}"

    def _value(self, interval: Interval, tell: Say) -> str:
        low, high = (possible(end, metric=self.metric) for end in (interval.low, interval.high))
        return tell(interval.mean) + ("" if low is None or high is None else f" ({tell(low)} to {tell(high)})")

    def _change(self, tell: Say) -> str:
        if self.change is None:
            return "; they share no seeds, so how sure the change is nobody knows"
        found = self.change.interval
        difference = _signed(found.mean, tell)
        if found.n == 1:
            return f": {difference}; of one seed, so how sure that is nobody knows"
        if found.low is None or found.high is None:
            return f": {difference} with every seed"
        verdict = "more than seeds explain" if self.moved else "no more than seeds differ by"
        return f": {difference} ({_signed(found.low, tell)} to {_signed(found.high, tell)}), {verdict}"


def movement(course: Course, measure: Measure, *, metric: str) -> Movement | None:
    """Of a number along a course; None: it was never measured."""
    found = [(setting, interval) for setting in course.settings if (interval := interval_of(setting, measure))]
    if not found:
        return None
    (most, end), (least, start) = found[0], found[-1]
    change = None if most is least else seed_by_seed(by_seed(most, measure), by_seed(least, measure))
    return Movement(least=least, most=most, start=start, end=end, change=change, metric=metric)


def _signed(value: float, tell: Say) -> str:
    return f"{'-' if value < 0 else '+'}{tell(abs(value))}"


def _three_digits(value: float) -> str:
    return f"{value:.3f}"
