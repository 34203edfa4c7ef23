"""Every published or agreed value of privacy accounting that this project relies on, each with its source.

Tolerances: RDP relative 1e-3 (order grids differ), PLD absolute 2e-3, PRV absolute 0.011, closed forms to the digits
printed. What fedpriv computes comes from fedpriv; what it has no mechanism for yet comes from ``oracles``, which later
mechanisms are to be held to as well.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import dp_accounting
import numpy as np
import pytest
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant
from lower_bounds import epsilon_at_least, epsilon_of_pairs, hard_pairs, shared_coin
from oracles import (
    banded,
    binary_tree,
    classical_sigma,
    discrete_gaussian,
    epsilon_by_old_conversion,
    epsilon_of_discrete,
    epsilon_of_zcdp,
    one_run_audit,
    patterns,
    renyi_bound_of_discrete_sum,
    renyi_of_discrete,
    square_root_of_prefix_sums,
    strategy_sensitivity,
    sum_of,
    update_noise_multiplier,
)
from releases import everybody, poisson

from fedpriv.accounting.accountants import Accountant, Composition, Relation, SampledGaussian, epsilon
from fedpriv.accounting.renyi import LIBRARY_ORDERS, library_curve


def of_population(sampling: str, cohort: int, population: int, rate: float, noise_multiplier: float) -> SampledGaussian:
    return SampledGaussian(
        noise_multiplier=noise_multiplier,
        sampling=sampling,  # type: ignore[arg-type]
        rate=rate,
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


# -- example level, Poisson batches, add-or-remove-one -----------------------------------------------------------


@dataclass(frozen=True)
class Published:
    source: str
    released: Composition
    delta: float
    rdp: float  # Opacus 1.6 RDPAccountant, checked against dp-accounting 0.6
    pld: float  # dp-accounting 0.6 PLDAccountant
    prv: float  # Opacus 1.6 PRVAccountant
    printed: float | None  # by the source itself, with the conversion of its time


EXAMPLE_LEVEL = [
    Published(
        "Opacus examples/mnist_README.md, sigma 1.3, 15 epochs",
        {poisson(240 / 60000, 1.3): 3750}, 1e-5, 0.92205, 0.8336, 0.8436, 1.16,
    ),
    Published(
        "Opacus examples/mnist_README.md, sigma 0.7, 45 epochs",
        {poisson(240 / 60000, 0.7): 11250}, 1e-5, 6.09254, 5.4312, 5.4415, 6.86,
    ),
    Published(
        "TensorFlow Privacy, tutorials/README.md, sigma 1.3, 15 epochs",
        {poisson(256 / 60000, 1.3): 3515}, 1e-5, 0.95443, 0.8645, 0.8745, 1.19,
    ),
    Published(
        "Abadi et al. 2016 (arXiv 1607.00133), section 3.2: q 0.01, sigma 4, 10,000 steps",
        {poisson(0.01, 4.0): 10000}, 1e-5, 1.03549, 0.9470, 0.9569, 1.26,
    ),
    Published(
        "Opacus and dp-accounting agree: many steps",
        {poisson(0.001, 1.0): 100000}, 1e-6, 2.00405, 1.8620, 1.8711, None,
    ),
    Published(
        "Opacus and dp-accounting agree: three rates and noises",
        {poisson(0.02, 1.0): 500, poisson(0.02, 2.0): 500, poisson(0.05, 1.5): 200},
        1e-5, 4.19060, 3.7965, 3.8067, None,
    ),
]  # fmt: skip


@pytest.mark.parametrize("of", EXAMPLE_LEVEL, ids=lambda of: of.source)
def test_example_level(of: Published) -> None:
    assert value(of.released, of.delta, accountant="rdp") == pytest.approx(of.rdp, rel=1e-3)
    assert value(of.released, of.delta, accountant="opacus_rdp") == pytest.approx(of.rdp, rel=1e-5)
    assert value(of.released, of.delta, accountant="pld") == pytest.approx(of.pld, abs=2e-3)
    assert value(of.released, of.delta, accountant="prv") == pytest.approx(of.prv, abs=1e-3)
    assert abs(value(of.released, of.delta, accountant="prv") - value(of.released, of.delta)) < 0.011


@pytest.mark.parametrize("of", [of for of in EXAMPLE_LEVEL if of.printed], ids=lambda of: of.source)
def test_what_was_printed_is_the_same_curve_under_the_old_conversion(of: Published) -> None:
    curve = sum(library_curve(release, "add_or_remove_one") * times for release, times in of.released.items())
    old = epsilon_by_old_conversion(LIBRARY_ORDERS, np.asarray(curve), of.delta)
    assert round(old, 2) == of.printed
    assert value(of.released, of.delta, accountant="rdp") < of.printed  # by Canonne et al. 2020


# -- client level ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "released", "delta", "rdp", "pld", "unamplified"),
    [
        (
            "3383 writers of EMNIST, cohort 120: dp-accounting 0.6, Opacus 1.6",
            {poisson(120 / 3383, 1.2): 100}, 1e-5, 1.9861, 1.7075, 69.457,
        ),
        (
            "a million clients, cohort 1000, delta N^-1.1: dp-accounting 0.6, Opacus 1.6",
            {poisson(1e-3, 1.0): 10_000}, 1e6**-1.1, 1.0947, 0.5996, 5501.6,
        ),
        ("everybody: Balle & Wang 2018, Theorem 8", {poisson(1.0, 5.0): 20}, 1e-3, 2.7354, 2.7354, 2.7354),
    ],
    ids=lambda of: of if isinstance(of, str) else "",
)  # fmt: skip
def test_client_level(
    source: str, released: Composition, delta: float, rdp: float, pld: float, unamplified: float
) -> None:
    assert value(released, delta, accountant="rdp") == pytest.approx(rdp, rel=1e-3)
    assert value(released, delta) == pytest.approx(pld, abs=2e-3)
    ((release, rounds),) = released.items()
    assert value({everybody(release.noise_multiplier): rounds}, delta) == pytest.approx(unamplified, rel=2e-5)


# -- cohorts of fixed size: Lebeda et al. 2024 (arXiv 2405.20769) ------------------------------------------------


@pytest.mark.parametrize(
    ("cohort", "population", "noise_multiplier", "rounds", "delta", "times_larger"),
    [(4, 1000, 1.3, 3750, 1e-5, 5.0), (10, 1000, 1.0, 100, 1e-5, 8.9), (10, 1000, 0.8, 1000, 1e-5, 8.8)],
)
def test_a_fixed_size_costs_5_to_10_times_what_poisson_claims(
    cohort: int, population: int, noise_multiplier: float, rounds: int, delta: float, times_larger: float
) -> None:
    """Section 4: a rigorous lower bound of the former over the latter; what fedpriv states lies above both."""
    rate = cohort / population
    claimed = value({poisson(rate, noise_multiplier): rounds}, delta)
    pairs = hard_pairs(
        "fixed_size", "replace_one", rate=rate, std=noise_multiplier, population=population, cohort=cohort
    )
    least = max(epsilon_of_pairs([(pair, rounds)], delta, precision=0.05) for pair in pairs)
    assert least / claimed == pytest.approx(times_larger, abs=0.15)
    drawn = {of_population("fixed_size", cohort, population, rate, noise_multiplier): rounds}
    assert value(drawn, delta, "replace_one", "rdp") > least


@pytest.mark.parametrize("cohort", [20, 900])
def test_fixed_size_is_subsampled_rdp_with_half_the_noise_capped_by_no_amplification(cohort: int) -> None:
    """Wang, Balle & Kasiviswanathan 2019 (arXiv 1808.00087), Theorem 9; analytic Gaussian with mu = 2 sqrt(T) / z."""
    accountant = RdpAccountant(neighboring_relation=dp_accounting.NeighboringRelation.REPLACE_ONE)
    event = dp_accounting.SampledWithoutReplacementDpEvent(1000, cohort, dp_accounting.GaussianDpEvent(6.0 / 2))
    accountant.compose(event, 100)
    amplified = accountant.get_epsilon(1e-5)
    replaced, absent = (value({everybody(z): 100}) for z in (6.0 / 2, 6.0))  # mu = 2 sqrt(T) / z and sqrt(T) / z
    drawn = {of_population("fixed_size", cohort, 1000, cohort / 1000, 6.0): 100}
    assert value(drawn, relation="replace_one", accountant="rdp") == pytest.approx(min(amplified, replaced), rel=1e-3)
    # nothing smaller than this is known to be valid under zero-out
    assert value(drawn, relation="zero_out", accountant="rdp") == pytest.approx(min(amplified, absent), rel=1e-3)
    assert (amplified < absent) == (cohort == 20)


# -- closed forms ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Exact:
    source: str
    printed: float
    found: Callable[[], float]
    digits: int = 4  # after the point


LOCAL = 4.8448  # sigma / C of local reports; also sqrt(2 ln(1.25 / delta)) at delta 1e-5
CLOSED_FORMS = [
    Exact("Balle & Wang 2018, Theorem 8: sigma 1", 4.3772, lambda: value({everybody(1.0): 1})),
    Exact(
        "Balle & Wang 2018: 10 local reports, replace-one (sensitivity 2C)",
        5.9778,
        lambda: value({everybody(LOCAL): 10}, relation="replace_one"),
    ),
    Exact(
        "Balle & Wang 2018: 10 local reports, zero-out",
        2.6884,
        lambda: value({everybody(LOCAL): 10}, relation="zero_out"),
    ),
    Exact(
        "Dwork & Roth 2014, Theorem A.1, used beyond epsilon 1: 10 asked for",
        10.394,
        lambda: value({everybody(classical_sigma(10, 1e-5)): 1}),
        digits=3,
    ),
    Exact("Flower 1.41, server-side DP: a mean of 100 replies, noise z C / 100", 4.38, lambda: mean_of(100), digits=2),
    Exact("Flower 1.41, server-side DP: a mean of 60 replies, noise z C / 100", 8.0, lambda: mean_of(60), digits=1),
    Exact("Canonne, Kamath & Steinke 2020, Prop. 12: 0.81-zCDP", 8.922, lambda: epsilon_of_zcdp(0.81, 1e-10), digits=3),
    Exact(
        "Canonne, Kamath & Steinke 2020, Definition 1: discrete Gaussian, sigma 1",
        4.4302,
        lambda: epsilon_of_discrete(discrete_gaussian(1.0, 50), 1, 1e-5),
    ),
    Exact(
        "Dwork et al. 2010: binary tree over 16 rounds, one participation",
        2.23607,
        lambda: strategy_sensitivity(binary_tree(16), patterns(16, 16)),
        digits=5,
    ),
    Exact(
        "Dwork et al. 2010: binary tree over 16 rounds, participations 4 apart",
        6.0,
        lambda: strategy_sensitivity(binary_tree(16), patterns(16, 4)),
        digits=10,
    ),
    Exact(
        "Choquette-Choo et al. 2023 (arXiv 2306.08153): 4 bands, columns of norm 1, participations 4 apart, 16 rounds",
        2.0,
        lambda: strategy_sensitivity(banded(square_root_of_prefix_sums(16), 4), patterns(16, 4)),
        digits=10,
    ),
    Exact(
        "Fichtenberger, Henzinger & Upadhyay 2023: square root of prefix sums, 16 rounds, one participation",
        1.39423,
        lambda: strategy_sensitivity(square_root_of_prefix_sums(16), patterns(16, 16)),
        digits=5,
    ),
    Exact(
        "Kairouz et al. 2021 (arXiv 2103.00039), tree of 1000 rounds, z 7: dp-accounting's event",
        2.9129,
        lambda: tree_aggregation(1000, 7.0, 1e-10),
    ),
    Exact(
        "Andrew et al. 2021, Theorem 1: z 1, cohort 100, sigma_b 5",
        1.00504,
        lambda: update_noise_multiplier(1.0, 5.0),
        digits=5,
    ),
    Exact(
        "Steinke, Nasr & Jagielski 2023, Theorem 5.2: all of 100 right",
        3.4930,
        lambda: one_run_audit(canaries=100, guesses=100, correct=100, delta=0, confidence=0.95),
    ),
    Exact(
        "Steinke, Nasr & Jagielski 2023, Theorem 5.2: 95 of 100 guesses on 1000 canaries",
        1.9172,
        lambda: one_run_audit(canaries=1000, guesses=100, correct=95, delta=1e-5, confidence=0.99),
    ),
    Exact(
        "Steinke, Nasr & Jagielski 2023, Theorem 5.2: 450 of 500 guesses on 5000 canaries",
        1.9414,
        lambda: one_run_audit(canaries=5000, guesses=500, correct=450, delta=1e-5, confidence=0.95),
    ),
]  # fmt: skip


def mean_of(replies: int) -> float:
    """A mean over fewer has a larger sensitivity, C / replies: with noise meant for 100, z = 1 is replies / 100."""
    return value({everybody(replies / 100): 1})


def tree_aggregation(rounds: int, noise_multiplier: float, delta: float) -> float:
    accountant = RdpAccountant(neighboring_relation=dp_accounting.NeighboringRelation.REPLACE_SPECIAL)
    accountant.compose(dp_accounting.SingleEpochTreeAggregationDpEvent(noise_multiplier, rounds))
    return float(accountant.get_epsilon(delta))


@pytest.mark.parametrize("of", CLOSED_FORMS, ids=lambda of: of.source)
def test_closed_forms_to_the_digits_printed(of: Exact) -> None:
    assert of.found() == pytest.approx(of.printed, abs=0.501 * 10**-of.digits)


def test_a_discrete_gaussian_costs_more_than_a_continuous_one_at_one_delta_and_no_more_in_renyi() -> None:
    """Canonne, Kamath & Steinke 2020 (arXiv 2004.00010), Theorem 4: at most alpha s^2 / (2 sigma^2)."""
    law = discrete_gaussian(1.0, 50)
    assert epsilon_of_discrete(law, 1, 1e-5) > value({everybody(1.0): 1}) + 0.05
    for sensitivity, order in ((1, 2.0), (1, 5.0), (2, 1.5), (2, 2.5), (1, 1.5), (1, 3.3)):
        bound = order * sensitivity**2 / 2
        found = renyi_of_discrete(law, sensitivity, order)
        assert found <= bound * (1 + 1e-12)
        assert (found == pytest.approx(bound, rel=1e-11)) == (order * sensitivity).is_integer()


def test_a_sum_of_discrete_gaussians_is_not_one() -> None:
    """Kairouz, Liu & Steinke 2021 (arXiv 2102.06387), Proposition 14, bounds it; here two with sigma 1/2."""
    total = sum_of(discrete_gaussian(0.5, 14), 2)
    excess = [renyi_of_discrete(total, 1, order) - order / (2 * 2 * 0.5**2) for order in (2, 3, 8)]
    assert excess[1] > 0.19, "the RDP of one discrete Gaussian with the same variance would be too small"
    for order in (2, 3, 8):
        assert renyi_of_discrete(total, 1, order) <= renyi_bound_of_discrete_sum(0.5, 2, 1.0, order)


def test_the_square_root_of_prefix_sums_is_one() -> None:
    root = square_root_of_prefix_sums(16)
    np.testing.assert_allclose(root @ root, np.tril(np.ones((16, 16))), atol=1e-12)
    assert np.count_nonzero(banded(root, 4)[8]) == 4


def test_a_tree_is_as_many_gaussians_as_a_leaf_has_complete_nodes() -> None:
    """Of 1000 leaves: 10 nodes. Exactly composed they cost less than the event's RDP of 2.9129."""
    assert int(binary_tree(1000).sum(axis=0).max()) == 10
    nodes = {everybody(7.0): 10}
    assert value(nodes, 1e-10) == pytest.approx(2.7826, abs=1e-4)
    assert value(nodes, 1e-10) < tree_aggregation(1000, 7.0, 1e-10)


def test_a_gaussian_is_within_its_zcdp() -> None:
    """RDP 0.81 alpha; 8.922 is the conversion's, the Gaussian itself costs less."""
    found, _ = dp_accounting.rdp.compute_epsilon(LIBRARY_ORDERS, 0.81 * LIBRARY_ORDERS, 1e-10)
    assert found == pytest.approx(8.922, rel=1e-3)
    assert value({everybody(1 / math.sqrt(2 * 0.81)): 1}, 1e-10) < 8.922


def test_updates_and_the_clipped_count_share_one_noise_multiplier() -> None:
    """Andrew et al. 2021 (arXiv 1905.03871), Theorem 1: a count of b - 1/2 has sensitivity 1/2."""
    split = {everybody(update_noise_multiplier(1.0, 5.0)): 1, everybody(2 * 5.0): 1}
    assert value(split) == pytest.approx(value({everybody(1.0): 1}), rel=1e-9)


# -- traps -------------------------------------------------------------------------------------------------------


def test_the_steps_of_a_round_share_one_client_coin() -> None:
    """q_client x q_example per local step: 1.264 claimed, 17.29 true (Opacus and dp-accounting RDP).

    The reference does not give its parameters. These reproduce both within the tolerance of RDP: 10 of 100 clients,
    batches of 64 of 1000 examples, z 1.2, 2000 steps. 17.29 is the value without the client's coin; that the
    claim is too small is shown without an accountant, for two long rounds whose steps are counted above a threshold.
    """
    client_rate, rate, z, steps = 10 / 100, 64 / 1000, 1.2, 2000
    claimed = {poisson(client_rate * rate, z): steps}
    assert value(claimed, accountant="rdp") == pytest.approx(1.264, rel=1e-3)
    assert value({poisson(rate, z): steps}, accountant="rdp") == pytest.approx(17.29, rel=1e-3)
    least = epsilon_at_least([(shared_coin(client_rate, rate, z, 1000), 2)], 1e-5, precision=0.01)
    assert 2 * value(claimed) < least < value({poisson(rate, z): steps})


def test_a_clients_own_epsilon_depends_on_its_size() -> None:
    """10 rounds of one epoch of batches of 32, z 1, delta 1e-5: 15 with 64 examples, 3.3 with 1200."""
    small = value({poisson(32 / 64, 1.0): 10 * 2})
    large = value({poisson(32 / 1200, 1.0): 10 * 38})
    assert (round(small), round(large, 1)) == (15, 3.3)


def test_capped_poisson_cohorts_cost_more() -> None:
    """arXiv 2508.15089: 1000 clients (the larger of two neighbours), q 0.05, cap 60; z 1, 100 rounds, delta 1e-3."""
    assert value({poisson(0.05, 1.0): 100}, 1e-3) == pytest.approx(2.19, abs=5e-3)
    drawn = {of_population("capped_poisson", 60, 1000, 0.05, 1.0): 100}
    assert value(drawn, 1e-3, "zero_out") == pytest.approx(5.14, abs=5e-3)
    library = PLDAccountant(value_discretization_interval=1e-3)
    library.compose(dp_accounting.TruncatedSubsampledGaussianDpEvent(1000, 0.05, 60, 1.0), 100)
    assert value(drawn, 1e-3, "zero_out") == pytest.approx(library.get_epsilon(1e-3), abs=2e-3)
    assert value(drawn, 1e-3) == pytest.approx(5.158, abs=5e-3)  # where one may be added to 1000
