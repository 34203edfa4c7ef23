"""Accountants beside exact values that share no code with them: mpmath, and an inversion integral (``oracles``)."""

from collections.abc import Iterator

import mpmath
import numpy as np
import pytest
from dp_accounting.gaussian_mechanism import get_epsilon_gaussian
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lower_bounds import epsilon_at_least, epsilon_of_pairs
from oracles import (
    Pair,
    Releases,
    delta_of_one,
    delta_of_two,
    exact_delta,
    exact_epsilon,
    gaussian,
    poisson,
    poisson_replaced,
    renyi,
    renyi_poisson,
)
from scipy import stats

from fedpriv.accounting.accountants import Accountant, Composition, Relation, SampledGaussian, epsilon
from fedpriv.accounting.renyi import FAST_ORDERS, LIBRARY_ORDERS, fast_curve, library_curve


@pytest.fixture(autouse=True)
def _digits() -> Iterator[None]:
    with mpmath.workdps(30):
        yield


def sampled(rate: float, noise_multiplier: float) -> SampledGaussian:
    return SampledGaussian(noise_multiplier=noise_multiplier, sampling="poisson", rate=rate, population=0, cohort=0)


def value(
    composition: Composition, delta: float, relation: Relation = "add_or_remove_one", accountant: Accountant = "pld"
) -> float:
    return epsilon(composition, delta=delta, relation=relation, accountant=accountant).value


def pair_of(rate: float, z: float, relation: Relation) -> Pair:
    return poisson_replaced(rate, z) if relation == "replace_one" else poisson(rate, z)


def is_tight(found: float, releases: Releases, delta: float) -> bool:
    """Whether ``found`` is at least the true epsilon (less 1e-6), and at most 2e-3 above it."""
    ways = (releases, [(pair.swapped(), times) for pair, times in releases])
    enough = max(exact_delta(way, found + 1e-6) for way in ways) <= delta
    return enough and max(exact_delta(way, found - 2e-3) for way in ways) > delta


# -- the oracles themselves --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_inversion_integral_is_the_closed_form_without_sampling() -> None:
    for shift, std, times, delta in ((1.0, 5.0, 20, 1e-3), (2.0, 4.8448, 10, 1e-5), (1.0, 0.5, 30, 1e-6)):
        closed = get_epsilon_gaussian(std / shift / np.sqrt(times), delta)
        assert exact_epsilon([(gaussian(shift, std), times)], delta) == pytest.approx(closed, rel=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "z", "at"), [(0.3, 0.8, 4.0), (0.6, 1.5, 1.0)])
def test_the_inversion_integral_is_the_double_integral(rate: float, z: float, at: float) -> None:
    exact = delta_of_two(rate, z, mpmath.mpf(at), case="replace")
    assert exact_delta([(poisson_replaced(rate, z), 2)], at) == pytest.approx(float(exact), rel=1e-9)


@pytest.mark.parametrize("case", ["remove", "add", "replace"])
def test_one_release_is_the_integral_of_the_definition(case: str) -> None:
    pair = poisson_replaced(0.2, 0.9) if case == "replace" else poisson(0.2, 0.9)
    pair = pair.swapped() if case == "add" else pair
    at = 0.15 if case == "add" else 2.0
    x = np.linspace(-15, 16, 400_001)
    log_p, log_q = pair.logs(x)
    masses = np.maximum(np.exp(log_p) - np.exp(at + log_q), 0) * (x[1] - x[0]) / (0.9 * np.sqrt(2 * np.pi))
    assert float(delta_of_one(0.2, 0.9, mpmath.mpf(at), case=case)) == pytest.approx(masses.sum(), rel=1e-6)


@pytest.mark.slow
def test_lower_bounds_lie_just_below_the_exact_value() -> None:
    for pair, times, delta in (
        (poisson(0.004, 1.3), 3750, 1e-5),
        (poisson_replaced(0.1, 2.0), 200, 1e-6),
        (poisson(0.3, 0.7), 20, 1e-3),
        (gaussian(2.0, 9.0), 40, 1e-8),
    ):
        exact = exact_epsilon([(pair, times)], delta)
        assert exact - 0.02 < epsilon_of_pairs([(pair, times)], delta, precision=0.02) < exact


def test_lower_bounds_of_two_bins_are_binomial_tails() -> None:
    """Counts of a bit: P[count >= k] - e^epsilon Q[count >= k], by scipy's binomial tails."""
    p, q, times, delta = 0.3, 0.1, 25, 1e-3
    counts = np.arange(times + 1)
    excess = stats.binom(times, p).sf(counts - 1) - delta
    ways = [np.log(excess[excess > 0] / stats.binom(times, q).sf(counts - 1)[excess > 0])]
    excess = stats.binom(times, 1 - q).sf(counts - 1) - delta
    ways.append(np.log(excess[excess > 0] / stats.binom(times, 1 - p).sf(counts - 1)[excess > 0]))
    bits = (np.array([p, 1 - p]), np.array([q, 1 - q]))
    found = epsilon_at_least([(bits, times)], delta, precision=1e-3)
    assert found == pytest.approx(max(float(way.max()) for way in ways), abs=2e-3)


# -- PLD: never below the truth, at most 2e-3 above it -----------------------------------------------------------

ONE_OR_TWO = [(1e-3, 0.6), (0.01, 1.0), (0.2, 0.7), (0.5, 2.0), (0.95, 1.2)]


@pytest.mark.parametrize("relation", ["add_or_remove_one", "replace_one"])
@pytest.mark.parametrize(("rate", "z"), ONE_OR_TWO)
@pytest.mark.parametrize("times", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_pld_of_one_or_two_releases_in_thirty_digits(rate: float, z: float, times: int, relation: Relation) -> None:
    delta_at, delta = (delta_of_one, delta_of_two)[times - 1], 1e-5
    cases = ["replace"] if relation == "replace_one" else ["remove", "add"]
    found = value({sampled(rate, z): times}, delta, relation)

    def true_delta(at: float) -> float:
        return max(float(delta_at(rate, z, mpmath.mpf(at), case=case)) for case in cases)

    assert true_delta(found + 1e-6) <= delta
    assert true_delta(max(found - 2e-3, 0)) > delta


COMPOSED = [  # rate, noise multiplier, releases, delta
    (240 / 60000, 1.3, 3750, 1e-5),
    (240 / 60000, 0.7, 11250, 1e-5),
    (0.01, 4.0, 10_000, 1e-5),
    (0.001, 1.0, 100_000, 1e-6),
    (120 / 3383, 1.2, 100, 1e-5),
    (0.001, 1.0, 10_000, 1e6**-1.1),
    (0.1, 1.0, 10, 1e-5),
    (0.5, 5.0, 1000, 1e-8),
    (0.05, 2.0, 3000, 1e-3),
    (0.9, 3.0, 50, 1e-10),
]


@pytest.mark.parametrize("relation", ["add_or_remove_one", "replace_one"])
@pytest.mark.parametrize(("rate", "z", "times", "delta"), COMPOSED)
def test_pld_of_compositions(rate: float, z: float, times: int, delta: float, relation: Relation) -> None:
    assert is_tight(value({sampled(rate, z): times}, delta, relation), [(pair_of(rate, z, relation), times)], delta)


@pytest.mark.slow
def test_every_accountant_of_a_mixed_composition() -> None:
    parts = [(0.02, 1.0, 500), (0.02, 2.0, 500), (0.05, 1.5, 200)]
    composition = {sampled(rate, z): times for rate, z, times in parts}
    for relation in ("add_or_remove_one", "replace_one"):
        releases = [(pair_of(rate, z, relation), times) for rate, z, times in parts]
        assert is_tight(value(composition, 1e-5, relation), releases, 1e-5)
    exact = exact_epsilon([(poisson(rate, z), times) for rate, z, times in parts], 1e-5)
    assert exact <= value(composition, 1e-5, accountant="prv") <= exact + 0.021  # its interval is 0.01 each way
    for accountant in ("rdp", "opacus_rdp"):
        assert exact <= value(composition, 1e-5, accountant=accountant) <= 1.15 * exact


@pytest.mark.slow
@settings(max_examples=15)
@given(
    rate=st.floats(5e-3, 0.9),
    z=st.floats(0.7, 8.0),
    times=st.integers(20, 2000),
    delta=st.sampled_from([1e-3, 1e-5, 1e-8]),
    relation=st.sampled_from(["add_or_remove_one", "replace_one"]),
)
def test_pld_of_any_composition(rate: float, z: float, times: int, delta: float, relation: Relation) -> None:
    found = value({sampled(rate, z): times}, delta, relation)
    assume(0.2 < found < 40)  # below it the integrand decays slowly, above it nobody reads the third digit
    assert is_tight(found, [(pair_of(rate, z, relation), times)], delta)


# -- PLD beside RDP -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("delta", [1e-3, 1e-5, 1e-8])
@pytest.mark.parametrize("times", [1, 100, 10_000])
@pytest.mark.parametrize("z", [0.6, 1.5, 8.0])
@pytest.mark.parametrize("rate", [1e-4, 0.01, 0.2, 0.9])
def test_pld_is_at_most_rdp(rate: float, z: float, times: int, delta: float) -> None:
    composition = {sampled(rate, z): times}
    rdp = value(composition, delta, accountant="rdp")
    if rdp < 100:  # what takes longest and is beaten by most
        assert value(composition, delta) <= rdp + 2e-3


@settings(max_examples=15)
@given(
    log_rate=st.floats(-4, 0),
    log_z=st.floats(-0.3, 1),
    log_times=st.floats(0, 5),
    log_delta=st.floats(-9, -2),
)
def test_pld_is_at_most_rdp_anywhere(log_rate: float, log_z: float, log_times: float, log_delta: float) -> None:
    composition, delta = {sampled(10**log_rate, 10**log_z): round(10**log_times)}, 10**log_delta
    rdp = value(composition, delta, accountant="rdp")
    assume(rdp < 100)
    assert value(composition, delta) <= rdp + 2e-3


@pytest.mark.parametrize(
    ("rate", "z", "times", "delta", "measured"),
    [
        (0.0077, 4.6, 600_000, 5e-12, 0.0148),
        (0.005, 23.0, 80_000, 1e-12, 0.0045),
    ],
)
def test_where_delta_is_below_the_error_of_convolution_the_bound_is_a_little_more(
    rate: float, z: float, times: int, delta: float, measured: float
) -> None:
    """The exceptions: no PLD there, but the Renyi bound of the fast orders, fewer than the RDP accountant has."""
    found = epsilon({sampled(rate, z): times}, delta=delta, relation="add_or_remove_one", accountant="pld")
    assert "RDP upper bound" in found.method
    assert found.value <= value({sampled(rate, z): times}, delta, accountant="rdp") + measured


# -- RDP -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "z"), [(1e-4, 0.6), (0.01, 1.0), (0.3, 2.0), (0.9, 0.4)])
def test_renyi_curves_at_whole_orders_are_the_binomial_sum(rate: float, z: float) -> None:
    release = sampled(rate, z)
    for orders, curve in ((LIBRARY_ORDERS, library_curve), (FAST_ORDERS, fast_curve)):
        found = dict(zip(orders.tolist(), curve(release, "add_or_remove_one"), strict=True))
        for order in (2, 3, 8, 31, 60, 256, 1024):
            exact = float(min(renyi_poisson(rate, z, order), order / (2 * mpmath.mpf(z) ** 2)))
            assert found[float(order)] == pytest.approx(exact, rel=1e-9, abs=2e-14)
            assert found[float(order)] >= exact * (1 - 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("relation", ["add_or_remove_one", "replace_one"])
@pytest.mark.parametrize(
    ("rate", "z", "order"), [(0.01, 0.5, 3.0), (0.2, 1.5, 8.0), (1e-4, 0.8, 64.0), (0.05, 0.4, 1.5), (0.9, 0.4, 1.1)]
)
def test_fast_curves_are_the_divergence(rate: float, z: float, order: float, relation: Relation) -> None:
    found = fast_curve(sampled(rate, z), relation)[list(FAST_ORDERS).index(order)]
    assert found == pytest.approx(float(renyi(pair_of(rate, z, relation), order)), rel=1e-7, abs=2e-14)
