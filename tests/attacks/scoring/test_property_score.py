"""Guesses of a property against the truth."""

import numpy as np
import pytest

from fedpriv.attacks.scoring.properties import score_property

HAVING = np.arange(100) < 20


def test_a_constant_guess_succeeds_by_half_and_is_as_accurate_as_the_baseline():
    found = score_property(np.full(100, -1.0), HAVING, confidence=0.95)
    assert (found.success, found.accuracy, found.baseline, found.auc) == (0.5, 0.8, 0.8, 0.5)
    assert found.success_low < 0.5 < found.success_high


def test_right_guesses_succeed_and_the_interval_has_a_width():
    """Clopper and Pearson's lower limits of 20 of 20 and 80 of 80 are 0.025^(1/20) and 0.025^(1/80)."""
    found = score_property(np.where(HAVING, 1.0, -1.0), HAVING, confidence=0.95)
    assert (found.success, found.success_high, found.auc) == (1.0, 1.0, 1.0)
    below = np.hypot(1 - 0.025 ** (1 / 20), 1 - 0.025 ** (1 / 80)) / 2
    assert found.success_low == pytest.approx(1 - below, abs=1e-12)


def test_opposite_guesses_succeed_never():
    found = score_property(np.where(HAVING, -1.0, 1.0), HAVING, confidence=0.95)
    assert (found.success, found.success_low, found.auc) == (0.0, 0.0, 0.0)


def test_the_interval_covers_as_often_as_it_says():
    """At least 95 % of the time, less three standard errors of 400 draws."""
    rng, covered = np.random.default_rng(3), 0
    for _ in range(400):
        right = rng.random(100) < np.where(HAVING, 0.6, 0.8)
        found = score_property(np.where(right == HAVING, 1.0, -1.0), HAVING, confidence=0.95)
        covered += found.success_low <= 0.7 <= found.success_high
    assert covered / 400 >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 400)


@pytest.mark.parametrize("having", [np.zeros(5, bool), np.ones(5, bool)])
def test_one_sort_of_clients_alone_measures_nothing(having):
    assert score_property(np.zeros(5), having, confidence=0.95) is None
