"""What no audit comes to is refused; what claims nothing rules out nothing."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import integrate, stats

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
from fedpriv.audits.bounds.one_shot import _hockey_stick
from fedpriv.errors import ConfigError

ALL_RIGHT = Guesses(canaries=100, made=100, right=100)
RUNS = {"runs_with": 10, "runs_without": 10}


@pytest.mark.parametrize("confidence", [-0.5, 0.0, 0.4, 1.0, 95, math.nan])
def test_a_confidence_that_is_none(confidence):
    for bound in (
        lambda: one_run_epsilon(ALL_RIGHT, delta=0.0, confidence=confidence),
        lambda: f_dp_epsilon(ALL_RIGHT, delta=0.0, confidence=confidence),
        lambda: f_dp_mu(ALL_RIGHT, confidence=confidence),
        lambda: contradicted(ALL_RIGHT, curve=[(1.0, 0.0)], confidence=confidence),
        lambda: repeated_epsilon(**RUNS, missed=0, false_alarms=0, delta=0.0, confidence=confidence),
        lambda: repeated_mu(**RUNS, missed=0, false_alarms=0, confidence=confidence),
    ):
        with pytest.raises(ConfigError, match="confidence"):
            bound()


@pytest.mark.parametrize("delta", [-1e-9, 1.1, math.nan])
def test_a_delta_that_is_none(delta):
    for bound in (
        lambda: one_run_epsilon(ALL_RIGHT, delta=delta, confidence=0.95),
        lambda: f_dp_epsilon(ALL_RIGHT, delta=delta, confidence=0.95),
        lambda: repeated_epsilon(**RUNS, missed=0, false_alarms=0, delta=delta, confidence=0.95),
        lambda: one_shot_estimate(np.full(20, 0.1), dimension=100, delta=delta),
    ):
        with pytest.raises(ConfigError, match="delta"):
            bound()


@pytest.mark.parametrize("counts", [(-1, 0), (11, 0), (0, -1), (0, 11)])
def test_errors_that_the_runs_cannot_have(counts):
    missed, alarms = counts
    with pytest.raises(ConfigError, match="cannot"):
        repeated_epsilon(**RUNS, missed=missed, false_alarms=alarms, delta=0.0, confidence=0.95)


@pytest.mark.parametrize("errors", [0, 3, 5, 10])
def test_repeated_runs_that_show_nothing_show_zero(errors):
    counts = {**RUNS, "missed": errors, "false_alarms": 10 - errors if errors != 10 else 10}
    assert repeated_epsilon(**counts, delta=0.0, confidence=0.95) == 0
    assert repeated_mu(**counts, confidence=0.95) == 0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("epsilon", [700.0, 1000.0, 1e300, math.inf])
def test_an_epsilon_too_large_to_mean_anything_hides_no_other_point(epsilon):
    assert not contradicted(ALL_RIGHT, curve=[(epsilon, 1e-5)], confidence=0.95)
    assert contradicted(ALL_RIGHT, curve=[(epsilon, 1e-300), (0.5, 1e-5)], confidence=0.95)


def test_no_claim_is_not_contradicted():
    assert not contradicted(ALL_RIGHT, curve=[], confidence=0.95)
    assert one_run_epsilon(ALL_RIGHT, delta=1.0, confidence=0.95) == 0
    assert f_dp_epsilon(ALL_RIGHT, delta=1.0, confidence=0.95) == 0


@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_cosines_of_a_model_that_diverged(odd):
    with pytest.raises(ConfigError, match="diverged"):
        one_shot_estimate(np.append(np.full(20, 0.1), odd), dimension=100, delta=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mean", "std"),
    [(1.0, 1.0), (-2.0, 1.0), (0.0, 1.0), (1.0, 0.5), (1.0, 2.0), (0.0, 0.3), (0.0, 3.0), (1.0, 1 + 1e-9)],
)
@pytest.mark.parametrize("epsilon", [0.0, 0.7, 3.0])
def test_the_estimate_s_divergence_against_quadrature(mean, std, epsilon):
    def excess(x):
        return max(0.0, stats.norm.pdf(x, mean, std) - math.exp(epsilon) * stats.norm.pdf(x))

    low, high = min(-10, mean - 10 * std), max(10, mean + 10 * std)
    pieces = np.linspace(low, high, 81)
    expected = sum(integrate.quad(excess, a, b)[0] for a, b in pairwise(pieces))
    assert _hockey_stick(mean, std, epsilon) == pytest.approx(expected, abs=1e-6)


def test_an_estimate_at_a_very_small_delta():
    """Of equal spread it is the analytic Gaussian's; quadrature would be lost in its own error there."""
    from fedpriv.accounting.gaussian_dp import gaussian_epsilon

    scores = stats.norm.ppf((np.arange(4000) + 0.5) / 4000)
    scores = 2.0 + (scores - scores.mean()) / scores.std(ddof=1)
    found = one_shot_estimate(scores / 100, dimension=10_000, delta=1e-12)
    assert found == pytest.approx(gaussian_epsilon(2.0, 1e-12), rel=1e-4)
