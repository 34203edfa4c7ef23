"""Areas, rates and intervals are those of the books; what cannot be measured is not."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from fedpriv.attacks.scoring import auc, auc_interval, roc, score, share_interval
from fedpriv.errors import FedprivError


def drawn(seed: int, members: int, others: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.arange(members + others) < members)
    return rng.normal(size=members + others) + shift * truth, truth


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40))
def test_curve_and_area_are_those_of_scikit_learn_ties_included(pairs):
    scores, truth = np.array([float(s) for s, _ in pairs]), np.array([m for _, m in pairs])
    if truth.all() or not truth.any():
        return
    curve = roc(scores, truth)
    fpr, tpr, _ = roc_curve(truth, scores, drop_intermediate=False)
    assert (curve.false_positives / curve.others).tolist() == pytest.approx(fpr.tolist())
    assert (curve.true_positives / curve.members).tolist() == pytest.approx(tpr.tolist())
    assert auc(scores, truth) == pytest.approx(roc_auc_score(truth, scores))


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Clopper and Pearson (1934), 95 %: the usual tables, and the closed forms 1 - 0.025^(1/n) and 0.025^(1/n)
    [(0, 10, 0.0, 0.3085), (5, 10, 0.1871, 0.8129), (10, 10, 0.6915, 1.0), (1, 100, 0.00025, 0.05446)],
)
def test_intervals_of_shares_are_exact(successes, trials, low, high):
    assert share_interval(successes, trials, confidence=0.95) == pytest.approx((low, high), abs=6e-5)


def test_bounds_of_an_area_solve_newcombes_equation():
    low, high = auc_interval(0.8, members=30, others=50, confidence=0.95)
    for x in (low, high):
        half = (30 + 50) / 2 - 1
        variance = x * (1 - x) * (1 + half * (1 - x) / (2 - x) + half * x / (1 + x)) / (30 * 50)
        assert abs(0.8 - x) == pytest.approx(1.959964 * math.sqrt(variance), rel=1e-6)
    assert low < 0.8 < high


def test_an_area_of_one_has_an_interval_with_a_width():
    low, high = auc_interval(1.0, members=10, others=10, confidence=0.95)
    assert high == 1.0
    assert 0.7 < low < 0.95
    assert auc_interval(0.0, members=10, others=10, confidence=0.95) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_intervals_of_areas_cover_the_truth_as_often_as_they_say(shift):
    true = 0.5 * math.erfc(-shift / 2)  # P(N(shift, 1) > N(0, 1))
    found = [score(*drawn(seed, 60, 40, shift), confidence=0.9) for seed in range(400)]
    covered = np.mean([one.auc_low <= true <= one.auc_high for one in found])
    assert 0.86 <= covered <= 0.95


def test_rates_are_what_a_threshold_below_them_finds():
    others = np.linspace(0, 1, 1000)
    scores = np.concatenate([others, np.full(30, 0.9955), np.full(70, 0.2)])  # four others are above the 30
    truth = np.arange(1100) >= 1000
    found = score(scores, truth, confidence=0.95)
    rate = found.rates[0.01]
    assert rate is not None
    assert rate.tpr == 0.30
    assert (rate.low, rate.high) == pytest.approx(share_interval(30, 100, confidence=0.95))
    assert found.rates[0.001] is None  # 1,000 non-members are too few for one in 1,000


@pytest.mark.parametrize(("others", "measurable"), [(999, False), (1000, True)])
def test_a_rate_needs_ten_expected_false_positives(others, measurable):
    told = score(*drawn(0, 50, others, 1.0), confidence=0.95).to_json()
    assert (told["tpr_at_1pct_fpr"] is not None) == measurable
    assert told["tpr_at_0_1pct_fpr"] is None
    assert (told["members"], told["non_members"], told["confidence"]) == (50, others, 0.95)
    assert score(*drawn(0, 50, 10_000, 1.0), confidence=0.95).to_json()["tpr_at_0_1pct_fpr"] is not None


def test_members_tied_with_too_many_others_are_not_found():
    found = score(np.zeros(2000), np.arange(2000) < 1000, confidence=0.95)
    assert found.auc == 0.5
    assert found.rates[0.01] is not None
    assert found.rates[0.01].tpr == 0.0


def test_a_thinned_curve_keeps_its_rates_on_logarithmic_axes():
    scores, truth = drawn(3, 2000, 2000, 1.5)
    whole = score(scores, truth, confidence=0.95)
    curve = whole.curve_to_json()
    assert len(curve["fpr"]) <= 201
    assert (curve["fpr"][-1], curve["tpr"][-1]) == (1.0, 1.0)
    at = np.array(curve["tpr"])[np.array(curve["fpr"]) <= 0.01].max()
    assert whole.rates[0.01] is not None
    assert at == pytest.approx(whole.rates[0.01].tpr, abs=0.01)


@pytest.mark.parametrize("truth", [np.zeros(5, bool), np.ones(5, bool)])
def test_nobody_to_tell_apart_is_an_error(truth):
    with pytest.raises(FedprivError, match="nobody to tell apart"):
        score(np.arange(5.0), truth, confidence=0.95)


def test_scores_that_are_no_numbers_are_an_error():
    with pytest.raises(FedprivError, match="1 of 3 scores"):
        score(np.array([0.0, np.nan, 1.0]), np.array([True, False, True]), confidence=0.95)
