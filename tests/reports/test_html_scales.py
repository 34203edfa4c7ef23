import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.reports.html.scales import ordinary, value_scale, within


def domain(ends, *, typical, metric="test_loss"):
    return value_scale(ends, typical=typical, metric=metric)["domain"]


SHARE = st.integers(0, 1000).map(lambda thousandths: thousandths / 1000)


@given(st.lists(st.tuples(SHARE, SHARE).map(sorted).map(tuple), min_size=1))
def test_a_share_stays_within_0_and_1_and_shows_everything(ends):
    low, high = domain(ends, typical=[], metric="test_accuracy")
    assert 0 <= low <= min(low for low, _ in ends)
    assert max(high for _, high in ends) <= high <= 1
    assert low < high


def test_one_curve_that_diverged_does_not_flatten_the_others():
    curves = [(0.3, 2.3), (0.5, 2.4), (0.4, 1e36)]
    low, high = domain(curves, typical=curves)
    assert low < 0.3
    assert 2.4 < high < 10


def test_nothing_is_cut_where_curves_are_alike():
    curves = [(0.3, 2.3), (0.5, 2.4), (0.4, 3.0)]
    low, high = domain(curves, typical=curves)
    assert low < 0.3
    assert 3.0 < high < 3.2


@pytest.mark.parametrize("value", [0.0, -2.0, 1e-9, 1e12])
def test_one_value_has_an_axis(value):
    low, high = domain([(value, value)], typical=[(value, value)])
    assert low <= value < high


def test_what_diverged_is_told_from_what_is_merely_large():
    fits = ordinary([0.5, 0.7, 2.0, 6e37])
    assert [fits(value) for value in (0.5, 2.0, 500.0, 6e37, -6e37)] == [True, True, True, False, False]
    assert ordinary([])(1.0)
    assert ordinary([0.0, 0.0])(3.0)


def test_no_end_of_a_ribbon_is_drawn_far_outside_of_the_figure():
    scale = value_scale([(0.0, 2.0)], typical=[], metric="loss")
    low, high = scale.domain
    assert within(1.0, scale) == 1.0
    assert within(None, scale) is None
    assert low - 3 < within(-1e37, scale) < low
    assert high < within(1e37, scale) < high + 3
