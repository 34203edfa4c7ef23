"""Numbers as the page has them."""

from collections.abc import Sequence
from typing import Any

from fedpriv.accounting.printed import upwards
from fedpriv.runs.settings import in_words
from fedpriv.runs.statistics import Interval

_HUGE = 1e6  # as the loss of what diverged
_SHARES = ("accuracy", "auroc", "c_index")


def in_brackets(interval: Interval | None) -> str:
    """The interval's ends; nothing where one seed gives none."""
    if interval is None or interval.low is None or interval.high is None:
        return ""
    return f"{metric(interval.low)} to {metric(interval.high)}"


def possible(value: float | None, *, metric: str) -> float | None:
    """An interval's end as it is drawn: no share lies outside of 0 and 1, whatever Student's t says."""
    return min(max(value, 0.0), 1.0) if is_share(metric) and value is not None else value


def is_share(metric: str) -> bool:
    """Whether its values are between 0 and 1."""
    return metric.removeprefix("test_") in _SHARES


def metric(value: float | None) -> str:
    """With four decimals, or four digits where it is huge; nothing where not measured."""
    return "" if value is None else f"{value:.4f}" if abs(value) < _HUGE else f"{value:.4g}"


def change(value: float | None) -> str:
    """A difference, signed."""
    return "" if value is None else f"{value:+z.4f}" if abs(value) < _HUGE else f"{value:+.4g}"


def p_value(p: float | None) -> str:
    """As tests are quoted; nothing where there is none."""
    return "" if p is None else "< 0.0001" if p < 1e-4 else f"{p:.4f}"


def bound(value: float | None, digits: int = 6) -> str:
    """Epsilon or delta, never below its value; "none" where nothing is claimed."""
    return "none" if value is None else upwards(value, digits)


def seconds(value: float | None) -> str:
    """Nothing where not measured."""
    return "" if value is None else f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def setting(value: Any) -> str:
    """A config's value as one would type it."""
    return in_words(value)


def listed(items: Sequence[str]) -> str:
    """one, two and three"""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""
