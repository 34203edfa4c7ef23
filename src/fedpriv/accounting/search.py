"""The largest number of rounds, or of clients in a cohort, that a budget allows."""

import math
from collections.abc import Callable
from itertools import count
from typing import Any

from fedpriv.accounting.accountants import epsilon, fast_upper_bound, rough_epsilon
from fedpriv.accounting.budget import Accounting
from fedpriv.accounting.sampled_gaussian import Composition
from fedpriv.errors import ConfigError

COUNTED = 2000
"""Numbers below this are found to the last round or client, larger ones to a part in a thousand of epsilon."""

_RESOLUTION = 5e-4  # relative, of numbers that are not counted
_SLACK, _ROUGH_SLACK = 1e-3, 1e-2  # relative, below the target: as close as such an answer needs to come
_PATIENCE = 4  # evaluations, beyond which closer is not worth its time


def largest_within(
    released: Callable[[int], Composition], *, target: float, most: int, growth: float, accounting: Accounting
) -> int:
    """The largest number in [1, most] whose epsilon is at most the target; epsilon must grow with it.

    A Rényi bound comes near, coarse curves come nearer, the accountant decides.

    Args:
        growth: about d log epsilon / d log number.
    """
    asked: dict[str, Any] = {"delta": accounting.delta, "relation": accounting.relation}

    def fast(number: int) -> float:
        return fast_upper_bound(released(number), **asked)

    def rough(number: int) -> float:
        return rough_epsilon(released(number), accountant=accounting.accountant, **asked).value

    def exact(number: int) -> float:
        return epsilon(released(number), accountant=accounting.accountant, **asked).value

    number = 1
    for bound in [fast, rough] if accounting.accountant in ("pld", "rdp") else [fast]:
        number, growth = _search(bound, target, start=max(1, number), most=most, growth=growth, slack=_ROUGH_SLACK)
    number, _ = _search(exact, target, start=max(1, number), most=most, growth=growth, slack=_SLACK)
    if number == 0:
        raise ConfigError(
            f"epsilon={target:g} does not allow even one round, or a cohort of one, with this noise: use a larger "
            "noise_multiplier or a larger epsilon."
        )
    return number


def _search(
    epsilon_at: Callable[[int], float], target: float, *, start: int, most: int, growth: float, slack: float
) -> tuple[int, float]:
    """Secant in logs between what fits and what exceeds, then bisection; 0 where nothing fits. Also the last slope."""
    fits, exceeds, number = 0, most + 1, start
    before: tuple[float, float] | None = None
    for evaluations in count(1):
        value = epsilon_at(number)
        if value <= target:
            fits = number
        else:
            exceeds = number
        patience = 4 ** max(0, evaluations - _PATIENCE)
        close = fits == number >= COUNTED and value >= target * (1 - slack * patience)
        if close or exceeds - fits <= max(1, int(fits * _RESOLUTION * patience)) or fits == most:
            break
        here = math.log(number), math.log(min(max(value, 1e-9), 1e9))
        if before is not None and before[0] != here[0]:
            growth = min(max((here[1] - before[1]) / (here[0] - before[0]), 0.05), 50.0)
        before = here
        leap = min(max((math.log(target) - here[1]) / growth, -7.0), 7.0)
        number = min(math.floor(number * math.exp(leap)), most)
        if not fits < number < exceeds:
            number = fits + 1 if number <= fits else exceeds - 1
            if evaluations > _PATIENCE or (fits >= COUNTED and exceeds <= most):
                number = math.isqrt(max(1, fits) * exceeds)
            number = min(max(number, fits + 1), exceeds - 1)
    return fits, growth
