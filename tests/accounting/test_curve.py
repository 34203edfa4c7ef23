"""Every point of a curve lies on or above exact values from ``oracles.py``, which share no code with fedpriv."""

import math
from collections.abc import Iterator

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import Pair, exact_delta, poisson, poisson_replaced

from fedpriv.accounting.accountants import Accountant, Composition, Relation, SampledGaussian
from fedpriv.accounting.budget import Accounting
from fedpriv.accounting.curve import Curve, delta_curve
from fedpriv.accounting.sampling import CohortSampling

POINTS = 25


def sampled(rate: float, z: float) -> SampledGaussian:
    return SampledGaussian(noise_multiplier=z, sampling="poisson", rate=rate, population=0, cohort=0)


def everybody(z: float) -> SampledGaussian:
    return SampledGaussian(noise_multiplier=z, sampling="all", rate=1.0, population=0, cohort=0)


def curve_of(
    *released: Composition,
    delta: float = 1e-5,
    relation: Relation = "add_or_remove_one",
    accountant: Accountant = "pld",
) -> tuple[float, Curve]:
    accounting = Accounting(delta=delta, relation=relation, accountant=accountant)
    worst, _ = accounting.worst(dict(enumerate(released)))
    return worst.value, delta_curve(released, accounting=accounting, epsilon=worst.value)


def exact_points(curve: Curve, pair: Pair, steps: int) -> Iterator[tuple[float, float]]:
    """(stated, exact) delta where the oracle's integral converges fast."""
    for point, delta in curve.points[::3]:
        if 1e-10 < delta < 0.05:
            yield delta, max(exact_delta([(one_way, steps)], point) for one_way in {pair, pair.swapped()})


def runs_through_its_headline(curve: Curve, epsilon: float, delta: float) -> None:
    epsilons, deltas = zip(*curve.points, strict=True)
    assert (epsilon, delta) in curve.points
    assert len(epsilons) == len(set(epsilons)) == POINTS
    assert sorted(epsilons) == list(epsilons)
    assert sorted(deltas, reverse=True) == list(deltas)
    assert 0 < min(deltas) <= max(deltas) <= 1
    assert epsilons[0] == pytest.approx(0.1 * epsilon, rel=1e-3)
    assert epsilons[-1] == pytest.approx(3 * epsilon, rel=1e-3)


@pytest.mark.parametrize(("relation", "moved"), [("add_or_remove_one", 1), ("zero_out", 1), ("replace_one", 2)])
@pytest.mark.parametrize("accountant", ["pld", "rdp", "opacus_rdp"])
def test_without_sampling_the_curve_is_the_analytic_gaussian_with_its_mu(relation, moved, accountant):
    epsilon, curve = curve_of({everybody(5.0): 20}, relation=relation, accountant=accountant)
    runs_through_its_headline(curve, epsilon, 1e-5)
    assert curve.mu == pytest.approx(moved * math.sqrt(20) / 5, rel=1e-12)
    assert curve.method == "closed form: analytic Gaussian (Balle & Wang 2018)"
    mu = mpmath.sqrt(20) * moved / 5
    for point, delta in curve.points:
        exact = mpmath.ncdf(mu / 2 - point / mu) - mpmath.exp(point) * mpmath.ncdf(-mu / 2 - point / mu)
        assert exact * (1 - 1e-10) <= delta <= exact * (1 + 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("accountant", ["pld", "prv", "rdp"])
@pytest.mark.parametrize(("rate", "z", "steps"), [(0.03547, 1.2, 100), (0.2, 0.8, 15)])
def test_a_poisson_curve_is_never_below_the_exact_one(rate, z, steps, accountant):
    epsilon, curve = curve_of({sampled(rate, z): steps}, accountant=accountant)
    runs_through_its_headline(curve, epsilon, 1e-5)
    assert curve.mu is None
    assert ("PLD" in curve.method) == (accountant != "rdp")
    for stated, exact in exact_points(curve, poisson(rate, z), steps):
        assert stated >= exact * (1 - 1e-8)
        assert accountant == "rdp" or stated <= 1.2 * exact


def test_under_replace_one_the_curve_is_that_of_twice_the_sensitivity():
    epsilon, curve = curve_of({sampled(0.1, 1.5): 60}, relation="replace_one")
    runs_through_its_headline(curve, epsilon, 1e-5)
    for stated, exact in exact_points(curve, poisson_replaced(0.1, 1.5), 60):
        assert exact * (1 - 1e-8) <= stated <= 1.1 * exact


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fixed_size", "capped_poisson"])
def test_other_samplings_are_bounded_as_well(kind):
    """Nothing below what a Poisson coin of the same rate costs under the same relation: both dominate it."""
    law = CohortSampling(kind=kind, population=200, cohort=20, separation=1, cap=25 * (kind == "capped_poisson"))
    accountant = "rdp" if kind == "fixed_size" else "pld"
    epsilon, curve = curve_of({law.release(3.0): 40}, relation="replace_one", accountant=accountant)
    runs_through_its_headline(curve, epsilon, 1e-5)
    assert all(stated >= 0.99 * least for stated, least in exact_points(curve, poisson_replaced(0.1, 3.0), 40))


@pytest.mark.slow
@settings(max_examples=15)
@given(
    rate=st.floats(1e-3, 1.0),
    z=st.floats(0.4, 20.0),
    steps=st.integers(1, 500),
    delta=st.sampled_from([1e-2, 1e-5, 1e-12]),
    relation=st.sampled_from(["add_or_remove_one", "replace_one", "zero_out"]),
    accountant=st.sampled_from(["pld", "rdp"]),
)
def test_every_curve_falls_and_runs_through_its_headline(rate, z, steps, delta, relation, accountant):
    accountant = "pld" if relation == "replace_one" else accountant
    epsilon, curve = curve_of({sampled(rate, z): steps}, delta=delta, relation=relation, accountant=accountant)
    assert (epsilon, delta) in curve.points
    deltas = [d for _, d in curve.points]
    assert sorted(deltas, reverse=True) == deltas
    assert all(0 < d <= 1 for d in deltas)


@pytest.mark.slow
def test_of_many_unequal_clients_the_curve_bounds_each():
    rng = np.random.default_rng(3)
    rates, noises = rng.uniform(0.02, 0.5, 70), rng.uniform(1, 2, 70)
    clients = [{sampled(q, z): n} for q, z, n in zip(rates, noises, range(20, 90), strict=True)]
    epsilon, curve = curve_of(*clients)
    runs_through_its_headline(curve, epsilon, 1e-5)
    assert "48 groups of similar participants" in curve.method
    for composition in clients[::23]:
        [(release, times)] = composition.items()
        for stated, exact in exact_points(curve, poisson(release.rate, release.noise_multiplier), times):
            assert stated >= exact * (1 - 1e-8)
    accounting = Accounting(delta=1e-5, relation="add_or_remove_one", accountant="pld")
    assert delta_curve(clients[::-1], accounting=accounting, epsilon=epsilon) == curve


def test_a_headline_looser_than_the_curve_is_never_contradicted():
    accounting = Accounting(delta=1e-5, relation="add_or_remove_one", accountant="pld")
    curve = delta_curve([{sampled(0.03547, 1.2): 100}], accounting=accounting, epsilon=3.0)  # 1.71 is earned
    runs_through_its_headline(curve, 3.0, 1e-5)
    assert {delta for epsilon, delta in curve.points if 1.8 < epsilon < 3} == {1e-5}


def test_nothing_released_costs_nothing():
    epsilon, curve = curve_of({})
    assert epsilon == 0
    assert curve.points[0] == (0.0, 1e-5)
    assert curve.mu == 0
