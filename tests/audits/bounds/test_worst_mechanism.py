"""No mechanism whatever gets more guesses right than the bounds say, up to the one that gives away most."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from worst_mechanism import most_chance, most_chance_of_many

from fedpriv.audits.bounds import Guesses, f_dp_epsilon, one_run_epsilon
from fedpriv.audits.bounds.f_dp import _lowered_by_curve, is_ruled_out
from fedpriv.audits.bounds.one_run import p_value

EPSILONS, DELTAS = st.floats(0.0, 4.0), st.sampled_from([0.0, 1e-6, 1e-3, 0.02, 0.2])


@st.composite
def outcomes(draw, most):
    """(canaries, made, right)."""
    m = draw(st.integers(1, most))
    r = draw(st.integers(1, m))
    return m, r, draw(st.integers(1, r))


def guesses(outcome):
    m, r, v = outcome
    return Guesses(canaries=m, made=r, right=v)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(outcomes(3), st.lists(st.tuples(EPSILONS, DELTAS), min_size=1, max_size=2))
def test_no_mechanism_is_ruled_out_that_keeps_its_curve(outcome, curve):
    m, r, v = outcome
    most = most_chance(canaries=m, made=r, right=v, curve=curve)
    confidence = 1 - most * (1 - 1e-6)
    if confidence >= 0.5:
        assert not is_ruled_out(guesses(outcome), _lowered_by_curve(curve), confidence=confidence)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(outcomes(3), EPSILONS, DELTAS)
def test_the_worst_of_all_mechanisms_is_known_in_closed_form(outcome, epsilon, delta):
    m, r, v = outcome
    tried = most_chance(canaries=m, made=r, right=v, curve=[(epsilon, delta)])
    known = most_chance_of_many(canaries=m, made=r, right=v, epsilon=epsilon, delta=delta)
    assert known == pytest.approx(tried, abs=1e-7)


@pytest.mark.parametrize(("r", "v"), [(4, 4), (4, 3), (4, 1)])
def test_so_it_is_with_four_canaries(r, v):
    tried = most_chance(canaries=4, made=r, right=v, curve=[(1.0, 0.03)])
    known = most_chance_of_many(canaries=4, made=r, right=v, epsilon=1.0, delta=0.03)
    assert known == pytest.approx(tried, abs=1e-7)


@settings(deadline=None, max_examples=300, derandomize=True)
@given(outcomes(400), EPSILONS, DELTAS)
def test_both_bounds_let_the_worst_mechanism_pass(outcome, epsilon, delta):
    m, r, v = outcome
    most = most_chance_of_many(canaries=m, made=r, right=v, epsilon=epsilon, delta=delta)
    if not 1e-6 < most <= 0.5:
        return
    assert p_value(guesses(outcome), epsilon, delta) >= most * (1 - 1e-9)
    curve = _lowered_by_curve([(epsilon, delta)])
    assert not is_ruled_out(guesses(outcome), curve, confidence=1 - most * (1 - 1e-6))


def test_the_theorem_of_one_run_fails_where_it_would_say_nothing():
    """Why a confidence below one half is refused: two canaries, one of them guessed right, p = 0.928."""
    found = p_value(guesses((2, 2, 1)), 1.0, 1e-3)
    most = most_chance(canaries=2, made=2, right=1, curve=[(1.0, 1e-3)])
    e = math.e
    assert most == pytest.approx(1 - (1 - 1e-3 * (2 + e)) / (1 + e) ** 2, abs=1e-9)  # by hand
    assert 0.9 < found < most


@pytest.mark.parametrize(
    ("outcome", "delta", "confidence", "least"),
    [
        ((1000, 100, 95), 1e-5, 0.99, 0.98),
        ((5000, 500, 450), 1e-5, 0.95, 0.99),
        ((1000, 1000, 700), 1e-3, 0.95, 0.95),
    ],
)
def test_neither_bound_is_far_from_the_best_there_can_be(outcome, delta, confidence, least):
    m, r, v = outcome
    numbers = {"canaries": m, "made": r, "right": v, "delta": delta}
    best = brentq(lambda epsilon: most_chance_of_many(**numbers, epsilon=epsilon) - (1 - confidence), 0.0, 10.0)
    for bound in (one_run_epsilon, f_dp_epsilon):
        found = bound(guesses(outcome), delta=delta, confidence=confidence)
        assert least * best <= found <= best + 1e-6
