"""Lower bounds from guesses: the published values, the truth never exceeded too often, halved noise seen."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from fedpriv.accounting.gaussian_dp import gaussian_deltas, gaussian_epsilon
from fedpriv.audits.bounds import (
    Guesses,
    contradicted,
    f_dp_epsilon,
    f_dp_mu,
    one_run_epsilon,
    one_shot_estimate,
    repeated_epsilon,
    repeated_mu,
)
from fedpriv.audits.bounds.f_dp import _lowered_by_curve, is_ruled_out
from fedpriv.errors import ConfigError

PUBLISHED = [  # Steinke, Nasr & Jagielski 2023, Theorem 5.2
    ((100, 100, 100), 0.0, 0.95, 3.4930),
    ((1000, 100, 95), 1e-5, 0.99, 1.9172),
    ((5000, 500, 450), 1e-5, 0.95, 1.9414),
]


@pytest.mark.parametrize(("counts", "delta", "confidence", "expected"), PUBLISHED)
def test_one_run_values(counts, delta, confidence, expected):
    found = one_run_epsilon(guesses(*counts), delta=delta, confidence=confidence)
    assert found == pytest.approx(expected, abs=2e-3)


def test_all_right_of_r_guesses_is_the_logit_of_a_root():
    """Without delta: the r-th root of 1 - confidence is the most likely chance of a right guess."""
    for r in (5, 40, 300):
        q = 0.05 ** (1 / r)
        expected = math.log(q / (1 - q))
        assert one_run_epsilon(guesses(r, r, r), delta=0, confidence=0.95) == pytest.approx(expected, abs=1e-5)
        assert f_dp_epsilon(guesses(r, r, r), delta=0, confidence=0.95) == pytest.approx(expected, abs=1e-5)


def guesses(canaries, made, right):
    return Guesses(canaries=canaries, made=made, right=right)


@pytest.mark.parametrize("counts", [(10, 11, 1), (10, 5, 6), (10, 0, 0), (10, 5, -1)])
def test_guesses_that_cannot_be(counts):
    with pytest.raises(ConfigError):
        guesses(*counts)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 60), st.integers(0, 60), st.integers(0, 200), st.sampled_from([0.0, 1e-5, 1e-2]))
def test_more_right_guesses_show_more(made, right, abstained, delta):
    right = min(right, made)
    m = made + abstained
    for bound in (one_run_epsilon, f_dp_epsilon):
        fewer = bound(guesses(m, made, max(0, right - 1)), delta=delta, confidence=0.95)
        found = bound(guesses(m, made, right), delta=delta, confidence=0.95)
        assert fewer <= found + 1e-5
        assert bound(guesses(m, made, right), delta=delta, confidence=0.99) <= found + 1e-5


def possible(counts, curve, chance):
    """Whether some distribution of right guesses gives at least the observed ones this chance, by linear programming.

    Of W right guesses: E[W; W >= k] / m <= e^eps E[r - W; W >= k - 1] / m + delta, and the same of the complements.
    """
    m, r, v = counts
    w = np.arange(r + 1)
    rows, limits = [], []
    for k in range(1, r + 1):
        right, wrong = np.where(w >= k, w, 0) / m, np.where(w >= k - 1, r - w, 0) / m
        for epsilon, delta in curve:
            rows += [right - math.exp(epsilon) * wrong, math.exp(epsilon) * right - wrong]
            limits += [delta, delta + math.exp(epsilon) - 1]
    found = linprog(
        -(w >= v).astype(float), A_ub=rows, b_ub=limits, A_eq=[np.ones(r + 1)], b_eq=[1.0], bounds=(0, None)
    )
    assert found.success
    return -found.fun >= chance - 1e-9


@settings(deadline=None, max_examples=150)
@given(
    st.integers(1, 14),
    st.integers(0, 14),
    st.integers(0, 30),
    st.lists(st.tuples(st.floats(0.0, 4.0), st.floats(0.0, 0.2)), min_size=1, max_size=3),
    st.floats(0.01, 0.5),
)
def test_f_dp_rules_out_what_no_distribution_of_guesses_allows(made, right, abstained, curve, chance):
    right = min(right, made)
    counts = (made + abstained, made, right)
    ruled_out = is_ruled_out(guesses(*counts), _lowered_by_curve(curve), confidence=1 - chance)
    if ruled_out:
        assert not possible(counts, curve, chance + 1e-6)
    else:
        assert possible(counts, curve, chance - 1e-6)


def simulated(rng, *, canaries, made, mu):
    """Guesses on canaries that Gaussian noise hides, each by itself: mu-GDP."""
    inside = rng.random(canaries) < 0.5
    order = np.argsort(mu * inside + rng.standard_normal(canaries))
    half = made // 2
    return guesses(canaries, 2 * half, int((~inside[order[:half]]).sum() + inside[order[-half:]].sum()))


@pytest.mark.parametrize("mu", [0.5, 1.0, 2.0])
def test_bounds_exceed_the_truth_at_most_as_often_as_said(mu):
    rng = np.random.default_rng(1)
    delta = 1e-3
    truth, exceeded = gaussian_epsilon(mu, delta), 0
    for _ in range(60):
        found = simulated(rng, canaries=400, made=80, mu=mu)
        exceeded += f_dp_mu(found, confidence=0.9) > mu
        assert one_run_epsilon(found, delta=delta, confidence=0.9) <= 2 * truth
        assert f_dp_epsilon(found, delta=delta, confidence=0.9) <= truth
    assert exceeded <= 12  # of 60 at 10 % each: more with chance 1 %


def test_randomised_response_is_never_more_than_it_is():
    rng, epsilon = np.random.default_rng(2), 1.5
    chance = 1 / (1 + math.exp(-epsilon))
    exceeded = 0
    for _ in range(60):
        found = guesses(300, 300, int(rng.binomial(300, chance)))
        exceeded += one_run_epsilon(found, delta=0, confidence=0.9) > epsilon
        assert f_dp_epsilon(found, delta=0, confidence=0.9) == pytest.approx(
            one_run_epsilon(found, delta=0, confidence=0.9), abs=0.05
        )
    assert exceeded <= 12


def curve_of(mu):
    epsilons = np.linspace(0.0, 12.0, 60)
    return list(zip(epsilons.tolist(), gaussian_deltas(mu, epsilons).tolist(), strict=True))


def test_noise_halved_is_flagged_and_the_right_one_is_not():
    rng = np.random.default_rng(3)
    flagged = sum(
        contradicted(simulated(rng, canaries=1000, made=200, mu=2.0), curve=curve_of(1.0), confidence=0.95)
        for _ in range(20)
    )
    right = sum(
        contradicted(simulated(rng, canaries=1000, made=200, mu=1.0), curve=curve_of(1.0), confidence=0.95)
        for _ in range(20)
    )
    assert flagged >= 15
    assert right == 0


def test_repeated_runs():
    perfect = {"runs_with": 500, "runs_without": 500, "missed": 0, "false_alarms": 0}
    upper = 1 - 0.025 ** (1 / 500)  # Clopper & Pearson of none in 500
    assert repeated_epsilon(**perfect, delta=0, confidence=0.95) == pytest.approx(math.log((1 - upper) / upper))
    assert repeated_mu(**perfect, confidence=0.95) == pytest.approx(4.8793, abs=1e-3)
    rng = np.random.default_rng(4)
    exceeded = 0
    for _ in range(60):
        with_it, without = rng.normal(1.0, 1, 300) < 0.5, rng.normal(0.0, 1, 300) >= 0.5
        told = {"runs_with": 300, "runs_without": 300, "missed": with_it.sum(), "false_alarms": without.sum()}
        exceeded += repeated_mu(**told, confidence=0.9) > 1.0
        assert repeated_epsilon(**told, delta=1e-3, confidence=0.9) <= gaussian_epsilon(1.0, 1e-3)
    assert exceeded <= 12
    with pytest.raises(ConfigError):
        repeated_mu(runs_with=0, runs_without=3, missed=0, false_alarms=0, confidence=0.9)


def test_the_one_shot_estimate_is_about_the_truth():
    rng, dimension = np.random.default_rng(5), 10_000
    for mu in (0.5, 1.0, 3.0):
        cosines = rng.normal(mu, 1, 20_000) / math.sqrt(dimension)
        found = one_shot_estimate(cosines, dimension=dimension, delta=1e-5)
        assert found == pytest.approx(gaussian_epsilon(mu, 1e-5), rel=0.15)
    nothing = one_shot_estimate(rng.normal(0, 1, 20_000) / 100, dimension=dimension, delta=0.01)
    assert nothing < 0.1
    with pytest.raises(ConfigError, match="too few"):
        one_shot_estimate(np.zeros(3), dimension=10, delta=1e-5)
