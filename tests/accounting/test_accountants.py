"""How accountants behave; their values are in ``test_golden_values.py`` and ``test_oracle_vectors.py``."""

import logging
import math
import subprocess
import sys

import dp_accounting
import mpmath
import numpy as np
import pytest
from dp_accounting.pld import PLDAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from releases import everybody, poisson

from fedpriv.accounting.accountants import (
    Composition,
    Relation,
    SampledGaussian,
    epsilon,
    fast_upper_bound,
    max_epsilon,
    max_fast_upper_bound,
    rough_epsilon,
)
from fedpriv.accounting.renyi import FAST_ORDERS, LIBRARY_ORDERS, fast_curve, library_curve
from fedpriv.accounting.sampled_gaussian import Accountant, Sampling, check_accountable
from fedpriv.errors import ConfigError


def fixed(cohort: int, population: int, noise_multiplier: float) -> SampledGaussian:
    return SampledGaussian(
        noise_multiplier=noise_multiplier,
        sampling="fixed_size",
        rate=cohort / population,
        population=population,
        cohort=cohort,
    )


def value(
    composition: Composition,
    delta: float = 1e-5,
    relation: Relation = "add_or_remove_one",
    accountant: Accountant = "pld",
) -> float:
    return epsilon(composition, delta=delta, relation=relation, accountant=accountant).value


@pytest.mark.parametrize("accountant", ["pld", "rdp", "prv", "opacus_rdp"])
def test_full_participation_is_the_closed_form_whichever_accountant(accountant: Accountant) -> None:
    # 10 clients, 20 rounds, z = 5, delta = 1e-3; and local reports with sigma / C = 4.8448, T = 10
    assert value({everybody(5.0): 20}, 1e-3, accountant=accountant) == pytest.approx(2.7354, rel=2e-5)
    local = {everybody(4.8448): 10}
    assert value(local, 1e-5, "replace_one", accountant) == pytest.approx(5.9778, rel=1e-5)
    assert value(local, 1e-5, "zero_out", accountant) == pytest.approx(2.6884, rel=2e-5)
    assert value({poisson(1.0, 5.0): 20}, 1e-3, accountant=accountant) == value({everybody(5.0): 20}, 1e-3)


@pytest.mark.parametrize("mu", [0.01, 0.3, 1.0, 10.0, 100.0, 2000.0])
@pytest.mark.parametrize("delta", [1e-3, 1e-5, 1e-10])
def test_closed_form_meets_delta_exactly(mu: float, delta: float) -> None:
    # Balle & Wang 2018, equation 6, in 60 digits
    found = value({everybody(1 / mu): 1}, delta)
    with mpmath.workdps(60):
        m = mpmath.mpf(1) / mpmath.mpf(1 / mu)

        def delta_at(eps: float) -> mpmath.mpf:
            return mpmath.ncdf(m / 2 - eps / m) - mpmath.exp(eps) * mpmath.ncdf(-m / 2 - eps / m)

        if found == 0:
            assert delta_at(0) <= delta
        else:
            assert abs(delta_at(mpmath.mpf(found)) / delta - 1) < 1e-6


def test_a_poisson_guarantee_costs_the_same_under_zero_out() -> None:
    composition = {poisson(0.05, 1.1): 200}
    for accountant in ("pld", "rdp"):
        assert value(composition, relation="zero_out", accountant=accountant) == value(
            composition, accountant=accountant
        )


def test_replace_one_under_poisson_doubles_the_sensitivity() -> None:
    # dp-accounting 0.6: PLD 1.610 where RdpAccountant's undoubled sensitivity gives add-or-remove-one's 0.822
    composition = {poisson(240 / 60000, 1.3): 3750}
    both = PLDAccountant(dp_accounting.NeighboringRelation.REPLACE_ONE, 1e-4)
    both.compose(dp_accounting.PoissonSampledDpEvent(240 / 60000, dp_accounting.GaussianDpEvent(1.3)), 3750)
    assert value(composition, relation="replace_one") == pytest.approx(both.get_epsilon(1e-5), abs=1e-3)
    assert value(composition, relation="replace_one") > 1.7 * value(composition)


@pytest.mark.slow
def test_mixed_sampling_composes() -> None:
    # one release to all and many Poisson ones, against dp-accounting on a fine grid
    composition = {everybody(6.0): 3, poisson(0.1, 1.5): 50}
    for relation, neighbours in (
        ("add_or_remove_one", dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE),
        ("replace_one", dp_accounting.NeighboringRelation.REPLACE_ONE),
    ):
        fine = PLDAccountant(neighbours, 1e-4)
        fine.compose(dp_accounting.GaussianDpEvent(6.0), 3)
        fine.compose(dp_accounting.PoissonSampledDpEvent(0.1, dp_accounting.GaussianDpEvent(1.5)), 50)
        assert value(composition, relation=relation) == pytest.approx(fine.get_epsilon(1e-5), abs=5e-4)
    assert abs(value(composition, accountant="prv") - value(composition)) < 0.011
    parts = value({everybody(6.0): 3}), value({poisson(0.1, 1.5): 50})
    assert max(parts) < value(composition) < sum(parts)


def test_fixed_size_and_poisson_compose_under_zero_out() -> None:
    mixed = {fixed(20, 1000, 6.0): 50, poisson(0.02, 2.0): 50}
    assert value(mixed, relation="zero_out", accountant="rdp") > max(
        value({release: times}, relation="zero_out", accountant="rdp") for release, times in mixed.items()
    )
    with pytest.raises(ConfigError, match="no accountant judges"):
        value(mixed, relation="replace_one", accountant="rdp")


@pytest.mark.parametrize(
    ("sampling", "relation", "accountant", "mend"),
    [
        ("poisson", "replace_one", "rdp", "privacy.accountant=pld"),
        ("poisson", "replace_one", "prv", "privacy.accountant=pld"),
        ("poisson", "replace_one", "opacus_rdp", "privacy.accountant=pld"),
        ("fixed_size", "add_or_remove_one", "rdp", "privacy.relation=replace_one"),
        ("fixed_size", "add_or_remove_one", "pld", "privacy.relation=replace_one"),
        ("fixed_size", "replace_one", "pld", "privacy.accountant=rdp"),
        ("fixed_size", "zero_out", "prv", "privacy.accountant=rdp"),
        ("fixed_size", "replace_one", "opacus_rdp", "privacy.accountant=rdp"),
        ("poisson", "add_or_remove_one", "gdp", "use one of"),
        ("poisson", "adjacent", "pld", "use one of"),
        ("shuffled", "zero_out", "pld", "use one of"),
    ],
)
def test_what_no_accountant_can_judge_is_refused_with_the_mend(
    sampling: Sampling, relation: Relation, accountant: Accountant, mend: str
) -> None:
    with pytest.raises(ConfigError, match=mend):
        check_accountable(sampling=sampling, relation=relation, accountant=accountant)
    if sampling != "shuffled":
        release = fixed(10, 100, 2.0) if sampling == "fixed_size" else poisson(0.1, 2.0)
        with pytest.raises(ConfigError):
            value({release: 5}, 1e-5, relation, accountant)


def test_a_fast_bound_of_fixed_size_refuses_add_or_remove_too() -> None:
    with pytest.raises(ConfigError, match="replace_one"):
        fast_upper_bound({fixed(10, 100, 2.0): 5}, delta=1e-5, relation="add_or_remove_one")


def test_nothing_costs_nothing_and_no_noise_costs_everything() -> None:
    assert value({}) == 0.0
    assert value({poisson(0.1, 1.0): 0, poisson(0.0, 1.0): 7, poisson(0.1, math.inf): 7}) == 0.0
    assert value({poisson(0.1, 1.0): 5, poisson(0.1, 0.0): 1}) == math.inf
    assert fast_upper_bound({poisson(0.1, 0.0): 1}, delta=1e-5, relation="zero_out") == math.inf


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, math.nan])
def test_delta_outside_its_range_is_refused(delta: float) -> None:
    with pytest.raises(ConfigError, match=r"privacy\.delta"):
        value({poisson(0.1, 1.0): 5}, delta)


@pytest.mark.parametrize("broken", [{"rate": 1.5}, {"noise_multiplier": -1.0}, {"noise_multiplier": math.nan}])
def test_impossible_releases_are_refused(broken: dict[str, float]) -> None:
    sound = {"noise_multiplier": 1.0, "sampling": "poisson", "rate": 0.1, "population": 0, "cohort": 0}
    with pytest.raises(ConfigError):
        SampledGaussian(**{**sound, **broken})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="cannot be drawn"):
        SampledGaussian(noise_multiplier=1.0, sampling="fixed_size", rate=1.0, population=10, cohort=11)


def test_orders_that_do_not_converge_neither_inflate_nor_log(caplog: pytest.LogCaptureFixture) -> None:
    # dp-accounting's RDP alone gives 10978 here; without amplification it is 2000/(2 z^2) + ... > 11111
    with caplog.at_level(logging.WARNING):
        found = epsilon({poisson(0.5, 0.3): 2000}, delta=1e-5, relation="add_or_remove_one", accountant="rdp")
    assert not caplog.records
    assert 5900 < found.value < 10980
    assert value({poisson(0.9, 0.3): 2000}, accountant="rdp") <= value({everybody(0.3): 2000})


def test_a_huge_epsilon_is_bounded_without_a_pld() -> None:
    found = epsilon({poisson(0.5, 0.3): 2000}, delta=1e-5, relation="add_or_remove_one", accountant="pld")
    assert "RDP upper bound" in found.method
    assert found.value <= value({poisson(0.5, 0.3): 2000}, accountant="rdp")
    assert value({poisson(0.5, 0.3): 2000}, relation="replace_one") <= value(
        {everybody(0.3): 2000}, relation="replace_one"
    )


def test_a_delta_below_float_error_falls_back_to_a_bound() -> None:
    found = epsilon({poisson(0.01, 1.0): 100}, delta=1e-18, relation="add_or_remove_one", accountant="pld")
    assert math.isfinite(found.value)
    assert found.value >= value({poisson(0.01, 1.0): 100}, 1e-10)


def test_prv_refuses_what_breaks_it_and_names_pld() -> None:
    with pytest.raises(ConfigError, match=r"privacy\.accountant=pld"):
        value({poisson(0.1, 0.3): 1000}, accountant="prv")


def test_opacus_rdp_says_when_its_orders_end() -> None:
    loose = epsilon({poisson(1e-4, 2.0): 10}, delta=1e-5, relation="add_or_remove_one", accountant="opacus_rdp")
    tight = epsilon({poisson(0.01, 1.0): 1000}, delta=1e-5, relation="add_or_remove_one", accountant="opacus_rdp")
    assert "loose" in loose.method
    assert "loose" not in tight.method
    assert loose.value >= value({poisson(1e-4, 2.0): 10})


def test_methods_name_library_and_version() -> None:
    for accountant, word in (("pld", "PLD (dp-accounting"), ("rdp", "dp-accounting"), ("prv", "Opacus 1.")):
        found = epsilon({poisson(0.1, 2.0): 10}, delta=1e-5, relation="add_or_remove_one", accountant=accountant)
        assert word in found.method


@pytest.mark.slow
@pytest.mark.parametrize("relation", ["add_or_remove_one", "replace_one"])
@pytest.mark.parametrize(
    ("rate", "z", "steps", "delta"),
    [
        (0.001, 5.0, 10, 1e-8),
        (0.001, 1.5, 1000, 1e-5),
        (0.01, 0.5, 100, 1e-5),
        (0.01, 1.5, 1000, 1e-8),
        (0.1, 0.8, 30, 1e-3),
        (0.5, 5.0, 1000, 1e-5),
    ],
)
def test_discretisation_costs_at_most_half_a_thousandth(
    rate: float, z: float, steps: int, delta: float, relation: Relation
) -> None:
    neighbours = {
        "add_or_remove_one": dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE,
        "replace_one": dp_accounting.NeighboringRelation.REPLACE_ONE,
    }[relation]
    finer = PLDAccountant(neighbours, 1e-4 if rate > 0.001 else 4e-5)
    finer.compose(dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(z)), steps)
    true = finer.get_epsilon(delta)
    found = value({poisson(rate, z): steps}, delta, relation)
    rough = rough_epsilon({poisson(rate, z): steps}, delta=delta, relation=relation, accountant="pld").value
    assert -1e-6 < found - true < 5e-4
    assert found - 1e-6 <= rough < true + 8e-3


@pytest.mark.slow
@pytest.mark.parametrize(("cohort", "z"), [(1, 1.0), (30, 3.0), (400, 8.0)])
def test_fast_fixed_size_curves_are_never_below_the_librarys(cohort: int, z: float) -> None:
    release = fixed(cohort, 1000, z)
    _, fast_at, library_at = np.intersect1d(FAST_ORDERS, LIBRARY_ORDERS, return_indices=True)
    fast, library = fast_curve(release, "replace_one")[fast_at], library_curve(release, "replace_one")[library_at]
    assert np.all(fast >= library * (1 - 1e-9))


RATES = st.floats(0.002, 0.6)
NOISES = st.floats(0.7, 6.0)
STEPS = st.integers(1, 200)
FEW = settings(max_examples=8, deadline=None, derandomize=True)


@pytest.mark.slow
@FEW
@given(rate=RATES, z=NOISES, steps=STEPS, more=st.floats(1.02, 1.5))
def test_epsilon_falls_with_noise_and_grows_with_rate_and_count(rate: float, z: float, steps: int, more: float) -> None:
    tolerance = 6e-4  # the two grids may differ
    here = value({poisson(rate, z): steps})
    assert value({poisson(rate, z * more): steps}) <= here + tolerance
    assert value({poisson(min(1.0, rate * more), z): steps}) >= here - tolerance
    assert value({poisson(rate, z): math.ceil(steps * more)}) >= here - tolerance


@pytest.mark.slow
@FEW
@given(rate=RATES, z=NOISES, steps=STEPS, delta=st.sampled_from([1e-3, 1e-5, 1e-8]))
def test_bounds_are_in_order(rate: float, z: float, steps: int, delta: float) -> None:
    one = {poisson(rate, z): steps}
    pld, rdp = value(one, delta), value(one, delta, accountant="rdp")
    assert pld <= rdp + 2e-3
    assert rdp <= value({everybody(z): steps}, delta)
    assert pld <= fast_upper_bound(one, delta=delta, relation="add_or_remove_one")
    assert value(one, delta, "replace_one") <= fast_upper_bound(one, delta=delta, relation="replace_one")
    assert value(one, delta, "replace_one") >= pld - 1e-3


@pytest.mark.slow
@settings(max_examples=4, deadline=None, derandomize=True)
@given(cohort=st.integers(1, 99), z=st.floats(1.0, 10.0), rounds=st.integers(1, 100))
def test_fixed_size_is_never_below_poisson_of_the_same_numbers(cohort: int, z: float, rounds: int) -> None:
    drawn, coins = {fixed(cohort, 100, z): rounds}, {poisson(cohort / 100, z): rounds}
    replaced = value(drawn, relation="replace_one", accountant="rdp")
    zeroed = value(drawn, relation="zero_out", accountant="rdp")
    assert replaced >= value(coins, relation="replace_one") - 1e-3
    assert zeroed >= value(coins) - 1e-3
    assert zeroed <= min(replaced, value({everybody(z): rounds}, relation="zero_out")) + 1e-9
    for relation in ("replace_one", "zero_out"):
        assert fast_upper_bound(drawn, delta=1e-5, relation=relation) >= value(
            drawn, relation=relation, accountant="rdp"
        ) * (1 - 1e-9)


@pytest.mark.slow
@settings(max_examples=3, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), accountant=st.sampled_from(["pld", "rdp"]))
def test_the_maximum_is_the_brute_force_one(seed: int, accountant: Accountant) -> None:
    rng = np.random.default_rng(seed)
    compositions: list[Composition] = [{}, {everybody(20.0): 3}]
    for _ in range(9):
        rate, z = float(rng.uniform(0.01, 0.3)), float(rng.choice([1.0, 1.3, 2.0]))
        first = {poisson(rate, z): int(rng.integers(1, 120))}
        compositions.append({**first, poisson(rate, z * 1.5): 5} if rng.random() < 0.3 else first)
    compositions.append(compositions[3])
    each = [value(composition, accountant=accountant) for composition in compositions]
    worst, index = max_epsilon(compositions, delta=1e-5, relation="add_or_remove_one", accountant=accountant)
    assert worst.value == max(each) == each[index]
    bounds = [fast_upper_bound(c, delta=1e-5, relation="add_or_remove_one") for c in compositions]
    assert max_fast_upper_bound(compositions, delta=1e-5, relation="add_or_remove_one")[0] == max(bounds)


def test_the_maximum_of_nothing_is_refused_and_of_idle_clients_is_zero() -> None:
    with pytest.raises(ConfigError, match="no composition"):
        max_epsilon([], delta=1e-5, relation="zero_out", accountant="pld")
    worst, _ = max_epsilon([{}, {}], delta=1e-5, relation="zero_out", accountant="pld")
    assert worst.value == 0.0


@pytest.mark.parametrize("relation", ["add_or_remove_one", "replace_one", "zero_out"])
def test_events_name_the_sampling(relation: Relation) -> None:
    assert poisson(0.1, 2.0).event(relation) == dp_accounting.PoissonSampledDpEvent(
        0.1, dp_accounting.GaussianDpEvent(2.0)
    )
    assert fixed(10, 100, 2.0).event(relation) == dp_accounting.SampledWithoutReplacementDpEvent(
        100, 10, dp_accounting.GaussianDpEvent(1.0)
    )
    halved = relation == "replace_one"
    assert everybody(2.0).event(relation) == dp_accounting.GaussianDpEvent(1.0 if halved else 2.0)


def test_opacus_is_imported_only_when_asked_and_the_types_need_no_library() -> None:
    code = (
        "import sys, fedpriv.accounting.sampled_gaussian; assert 'dp_accounting' not in sys.modules; "
        "import fedpriv.accounting.accountants; assert 'opacus' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("q", "z", "steps", "delta"), [(1e-3, 1.0, 1000, 1e-13), (1e-2, 1.0, 100, 1e-14)])
def test_prv_breaks_down_where_its_rounding_would_decide(q, z, steps, delta):
    """There it would state an epsilon whose true delta is 1.3 and 2.2 times the one asked for."""
    release = SampledGaussian(noise_multiplier=z, sampling="poisson", rate=q, population=0, cohort=0)
    with pytest.raises(ConfigError, match="accountant=pld"):
        epsilon({release: steps}, delta=delta, relation="add_or_remove_one", accountant="prv")
