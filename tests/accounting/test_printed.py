"""What is printed is never below what it stands for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.accounting.printed import rounded_up, upwards


@given(st.floats(1e-300, 1e300), st.integers(2, 7))
def test_a_printed_number_is_never_below_its_value_nor_far_above(number, digits):
    assert number <= float(upwards(number, digits)) <= number * (1 + 10 ** (1 - digits) * 1.001)


@given(st.floats(0, 1e4))
def test_a_printed_epsilon_is_never_below_its_value(epsilon):
    assert epsilon <= float(rounded_up(epsilon)) <= epsilon + 1.001e-4


@pytest.mark.parametrize(("number", "printed"), [(1e-5, "1e-05"), (0.0001090772, "0.00011"), (0.0, "0"), (2.0, "2")])
def test_a_short_number_stays_as_it_is(number, printed):
    assert upwards(number, 2) == printed


def test_numpys_numbers_are_printed_as_any_other():
    assert upwards(np.float64(2.5), 3) == "2.5"
