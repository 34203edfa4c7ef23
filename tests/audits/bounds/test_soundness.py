"""Mechanisms whose privacy is known: bounds exceed it no more often than they may, and see noise halved."""

import math
from functools import partial

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import linprog

from fedpriv.accounting.gaussian_dp import gaussian_deltas, gaussian_epsilon
from fedpriv.audits.bounds import (
    Guesses,
    contradicted,
    f_dp_epsilon,
    f_dp_mu,
    one_run_epsilon,
    repeated_epsilon,
    repeated_mu,
)
from fedpriv.audits.bounds.f_dp import is_ruled_out, lowered_by_gdp

BOUNDS = [one_run_epsilon, f_dp_epsilon]


def least_right(judge, *, canaries, made, truth):
    """The fewest right guesses by which a bound exceeds the truth; more than ``made`` where none do."""
    low, high = 0, made + 1
    while low < high:  # bounds grow with right guesses
        right = (low + high) // 2
        if right <= made and judge(Guesses(canaries=canaries, made=made, right=right)) <= truth:
            low = right + 1
        else:
            high = right
    return low


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize(("epsilon", "confidence"), [(0.2, 0.95), (1.0, 0.5), (1.0, 0.9), (2.0, 0.99)])
def test_randomised_response(bound, epsilon, confidence):
    """Exactly, not by simulation: right guesses are binomial."""
    r = 500
    judge = partial(bound, delta=0.0, confidence=confidence)
    fewest = least_right(judge, canaries=r, made=r, truth=epsilon)
    broken = stats.binom.sf(fewest - 1, r, 1 / (1 + math.exp(-epsilon)))
    assert 0 < broken <= 1 - confidence + 1e-12


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("group", [1, 10, 100, 300])
def test_a_mechanism_that_now_and_then_tells_a_group(bound, group):
    """Randomised response; with chance delta m / group all coins of a random group are told: (epsilon, delta)-DP."""
    m, epsilon, delta, confidence = 300, 1.0, 1e-3, 0.95
    told = m * delta / group
    judge = partial(bound, delta=delta, confidence=confidence)
    fewest = least_right(judge, canaries=m, made=m, truth=epsilon)
    q = 1 / (1 + math.exp(-epsilon))
    broken = (1 - told) * stats.binom.sf(fewest - 1, m, q) + told * stats.binom.sf(fewest - 1 - group, m - group, q)
    assert broken <= 1 - confidence


@pytest.mark.parametrize("mu", [0.3, 1.0, 2.0])
def test_gaussian_canaries_all_guessed(mu):
    """Exactly: noise hides each by itself, and a threshold halfway is right with chance Phi(mu / 2)."""
    m, confidence = 400, 0.95
    judge = partial(f_dp_mu, confidence=confidence)
    fewest = least_right(judge, canaries=m, made=m, truth=mu)
    assert stats.binom.sf(fewest - 1, m, stats.norm.cdf(mu / 2)) <= 1 - confidence


def extremes_guessed(rng, *, canaries, made, mu, shared=0.0):
    """One audit: the highest scores are taken to be in, the lowest out.

    Args:
        shared: standard deviation of what moves all scores alike; it tells nobody's coin.
    """
    inside = rng.random(canaries) < 0.5
    scores = mu * inside + rng.standard_normal(canaries) + shared * rng.standard_normal()
    order, half = np.argsort(scores), made // 2
    right = int((~inside[order[:half]]).sum() + inside[order[-half:]].sum())
    return Guesses(canaries=canaries, made=2 * half, right=right)


@pytest.mark.parametrize("shared", [0.0, 3.0])
@pytest.mark.parametrize("mu", [0.5, 1.0])
def test_gaussian_canaries_of_which_extremes_are_guessed(mu, shared):
    rng, runs, delta = np.random.default_rng(11), 400, 1e-3
    truth, size = gaussian_epsilon(mu, delta), {"canaries": 300, "made": 60}
    fewest = [least_right(partial(f_dp_mu, confidence=0.9), **size, truth=mu)] + [
        least_right(partial(bound, delta=delta, confidence=0.9), **size, truth=truth) for bound in BOUNDS
    ]
    right = np.array([extremes_guessed(rng, **size, mu=mu, shared=shared).right for _ in range(runs)])
    may = stats.binom.isf(1e-3, runs, 0.1)
    assert all((right >= least).sum() <= may for least in fewest)


def test_half_of_the_noise_is_flagged_and_all_of_it_is_not():
    rng, epsilons = np.random.default_rng(12), np.linspace(0.0, 12.0, 60)
    curve = list(zip(epsilons.tolist(), gaussian_deltas(0.5, epsilons).tolist(), strict=True))
    judged = {
        mu: sum(
            contradicted(extremes_guessed(rng, canaries=2000, made=100, mu=mu), curve=curve, confidence=0.95)
            for _ in range(60)
        )
        for mu in (0.5, 1.0)
    }
    assert judged[1.0] >= 55
    assert judged[0.5] <= stats.binom.isf(1e-3, 60, 0.05)


def test_f_dp_sees_what_one_run_does_not():
    """90 of 100 guesses right, of a claim of mu 0.5: epsilon 1.99 at 1e-5."""
    found, epsilons = Guesses(canaries=1000, made=100, right=90), np.linspace(0.0, 12.0, 60)
    curve = list(zip(epsilons.tolist(), gaussian_deltas(0.5, epsilons).tolist(), strict=True))
    assert contradicted(found, curve=curve, confidence=0.95)
    assert f_dp_mu(found, confidence=0.95) > 0.5
    for bound in BOUNDS:
        assert bound(found, delta=1e-5, confidence=0.95) < gaussian_epsilon(0.5, 1e-5)


@pytest.mark.parametrize(
    ("m", "r", "v", "mu"), [(10, 10, 9, 0.5), (30, 12, 12, 0.4), (25, 20, 15, 0.3), (8, 8, 8, 1.0)]
)
def test_gaussian_trade_off_against_linear_programming(m, r, v, mu):
    """Of its tangents, so that the program allows a little more than the curve does."""
    w, levels = np.arange(r + 1), stats.norm.cdf(np.linspace(-7, 7, 700))
    slopes = np.exp(-mu * stats.norm.ppf(levels) - mu**2 / 2)
    powers = stats.norm.cdf(stats.norm.ppf(levels) + mu)
    rows, limits = [], []
    for k in range(1, r + 1):
        right, wrong = np.where(w >= k, w, 0) / m, np.where(w >= k - 1, r - w, 0) / m
        rows.append((right[None] - slopes[:, None] * wrong[None]) / np.maximum(1, slopes)[:, None])
        limits.append((powers - slopes * levels) / np.maximum(1, slopes))
    found = linprog(
        -(w >= v).astype(float),
        A_ub=np.concatenate(rows),
        b_ub=np.concatenate(limits),
        A_eq=np.ones((1, r + 1)),
        b_eq=[1.0],
        bounds=(0, None),
    )
    assert found.success
    most, guesses = -found.fun, Guesses(canaries=m, made=r, right=v)
    assert 1e-4 < most < 0.5
    assert is_ruled_out(guesses, lowered_by_gdp(mu), confidence=1 - most * 1.001)
    assert not is_ruled_out(guesses, lowered_by_gdp(mu), confidence=1 - most * 0.999)


@pytest.mark.parametrize("mu", [0.5, 1.5])
def test_repeated_runs_exactly(mu):
    """Over all counts of errors that a threshold halfway can have, by their chances."""
    n, delta, confidence = 80, 1e-3, 0.9
    truth, wrong = gaussian_epsilon(mu, delta), stats.norm.cdf(-mu / 2)
    chances = stats.binom.pmf(np.arange(n + 1), n, wrong)
    broken = {"epsilon": 0.0, "mu": 0.0}
    for missed in np.flatnonzero(chances > 1e-7).tolist():
        for alarms in np.flatnonzero(chances > 1e-7).tolist():
            counts = {"runs_with": n, "runs_without": n, "missed": missed, "false_alarms": alarms}
            chance = chances[missed] * chances[alarms]
            broken["epsilon"] += chance * (repeated_epsilon(**counts, delta=delta, confidence=confidence) > truth)
            broken["mu"] += chance * (repeated_mu(**counts, confidence=confidence) > mu)
    assert broken["epsilon"] <= broken["mu"] <= 1 - confidence
    assert broken["mu"] > 0
