"""Epsilons and deltas as people read and quote them: never printed below their value."""

import math
from decimal import ROUND_CEILING, Context


def rounded_up(epsilon: float) -> str:
    """Epsilon with four decimals."""
    return f"{math.ceil(epsilon * 1e4) / 1e4:.4f}"


def upwards(number: float, digits: int) -> str:
    """A number >= 0 with so many significant digits; one that has fewer is printed as it is."""
    rounded = Context(prec=digits, rounding=ROUND_CEILING).create_decimal(repr(float(number)))
    return f"{float(rounded):.{digits}g}"
