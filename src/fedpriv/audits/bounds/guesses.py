"""What one audited run came to: so many canaries, each in by a fair coin of its own, so many guesses, so many right."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from fedpriv.errors import ConfigError


@final
@dataclass(frozen=True, kw_only=True)
class Guesses:
    """Of one run.

    Args:
        canaries: m, each included by an independent fair coin.
        made: r, guesses that were made; the rest abstained. Fixed before the run was seen.
        right: v of them were right.

    Raises:
        ConfigError: numbers that no audit comes to.
    """

    canaries: int
    made: int
    right: int

    def __post_init__(self) -> None:
        if not 0 <= self.right <= self.made <= self.canaries or self.made < 1:
            raise ConfigError(
                f"An audit cannot make {self.made} guesses on {self.canaries} canaries, {self.right} of them right."
            )


def check_terms(*, confidence: float, delta: float) -> None:
    """Refuse what would make a bound of nothing: a confidence in percent, say, or a negative delta.

    Below one half a confidence says nothing, and the p-value of ``one_run`` need not hold (docs/audits/bounds.md).

    Raises:
        ConfigError: not 0.5 <= confidence < 1, or not 0 <= delta <= 1.
    """
    if not 0.5 <= confidence < 1:
        raise ConfigError(f"confidence={confidence} of an audit must be at least 0.5 and below 1, such as 0.95.")
    if not 0 <= delta <= 1:
        raise ConfigError(f"delta={delta} of an audit must lie in [0, 1].")


def largest(holds: Callable[[float], bool], *, most: float) -> float:
    """The largest value up to ``most`` that a test rules out, by bisection; 0 where it rules out none.

    Args:
        holds: whether a value is ruled out; true up to some value, and false from there on.
    """
    if not holds(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while holds(high):
        low, high = high, 2 * high
        if low >= most:
            return most
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
