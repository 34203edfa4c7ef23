import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedpriv.runs.statistics import holm, mean_interval, paired_difference, pareto_front

numbers = st.floats(-100, 100).map(lambda x: round(x, 6))


@given(st.lists(numbers, min_size=2, max_size=12))
def test_the_interval_is_students(values):
    found = mean_interval(values)
    error = stats.sem(values)
    assert found.n == len(values)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-9)
    if error > 1e-9:
        low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=error)
        assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_one_value_has_no_interval_and_none_no_mean():
    found = mean_interval([0.25])
    assert (found.mean, found.low, found.high, found.n) == (0.25, None, None, 1)
    with pytest.raises(ValueError, match="no values"):
        mean_interval([])


@given(st.dictionaries(st.integers(0, 8), numbers), st.dictionaries(st.integers(0, 8), numbers))
def test_a_paired_difference_is_that_of_the_shared_seeds(a, b):
    found = paired_difference(a, b)
    shared = sorted(a.keys() & b.keys())
    if not shared:
        assert found is None
        return
    differences = [a[seed] - b[seed] for seed in shared]
    assert found.interval.n == len(shared)
    assert found.interval.mean == pytest.approx(np.mean(differences), abs=1e-9)
    if len(set(differences)) == 1:
        assert found.p_value is None
    elif np.std(differences) > 1e-6:
        left, right = [a[s] for s in shared], [b[s] for s in shared]
        assert found.p_value == pytest.approx(stats.ttest_rel(left, right).pvalue, abs=1e-9)
        if abs(found.p_value - 0.05) > 1e-6:  # the test and the interval agree
            assert (found.p_value < 0.05) == (not found.interval.low <= 0 <= found.interval.high)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_closed_test_of_bonferroni(p_values):
    """An adjusted p-value is the largest Bonferroni p-value of all intersections that hold the hypothesis."""
    count = len(p_values)
    subsets = [s for size in range(1, count + 1) for s in itertools.combinations(range(count), size)]
    for n, adjusted in enumerate(holm(p_values)):
        closed = max(min(1.0, len(s) * min(p_values[m] for m in s)) for s in subsets if n in s)
        assert adjusted == pytest.approx(closed, abs=1e-12)


def test_holm_of_nothing_is_nothing():
    assert holm([]) == []


points = st.lists(
    st.tuples(st.one_of(st.none(), st.integers(0, 5)), st.one_of(st.none(), st.integers(0, 5))), max_size=12
)


@given(points, st.booleans())
def test_the_front_is_what_no_other_beats(points, higher_is_better):
    sign = 1 if higher_is_better else -1

    def beats(one, other):
        if None in (*one, *other) or one == other:
            return False
        return one[0] <= other[0] and sign * one[1] >= sign * other[1]

    expected = {
        n for n, point in enumerate(points) if None not in point and not any(beats(other, point) for other in points)
    }
    front = pareto_front(points, higher_is_better=higher_is_better)
    assert set(front) == expected
    assert len(set(front)) == len(front)
    assert [points[n][0] for n in front] == sorted(points[n][0] for n in front)


def test_what_claims_nothing_is_never_on_the_front():
    assert pareto_front([(None, 1.0), (2.0, 0.3), (math.inf, None)], higher_is_better=True) == [1]
