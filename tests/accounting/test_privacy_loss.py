"""PLDs: dp-accounting's where it is exact, and no rounding where it is not."""

import math

import numpy as np
import pytest
from dp_accounting import GaussianDpEvent, NeighboringRelation, PoissonSampledDpEvent
from dp_accounting.pld import PLDAccountant
from scipy.stats import norm

from fedpriv.accounting.privacy_loss import compose
from fedpriv.accounting.sampled_gaussian import Relation, SampledGaussian, Sampling

RELATIONS = {
    "add_or_remove_one": NeighboringRelation.ADD_OR_REMOVE_ONE,
    "replace_one": NeighboringRelation.REPLACE_ONE,
}


def sampled(
    z: float, rate: float, sampling: Sampling = "poisson", *, population: int = 0, cap: int = 0
) -> SampledGaussian:
    return SampledGaussian(noise_multiplier=z, sampling=sampling, rate=rate, population=population, cohort=cap)


@pytest.mark.parametrize("relation", ["add_or_remove_one", "replace_one"])
@pytest.mark.parametrize(("rate", "z", "steps"), [(0.01, 1.0, 100), (0.3, 2.0, 40), (0.9, 5.0, 10), (1.0, 3.0, 7)])
def test_it_is_the_pld_of_dp_accounting(relation: Relation, rate: float, z: float, steps: int) -> None:
    theirs = PLDAccountant(RELATIONS[relation], 1e-3)
    theirs.compose(PoissonSampledDpEvent(rate, GaussianDpEvent(z)), steps)
    ours = compose([(sampled(z, rate), steps)], relation=relation, interval=1e-3)
    for delta in (1e-3, 1e-6):
        assert ours.get_epsilon(delta) == pytest.approx(theirs.get_epsilon(delta), rel=1e-7, abs=1e-9)
    assert ours.get_delta(1.0) == pytest.approx(theirs.get_delta(1.0), rel=1e-6, abs=1e-12)


def test_a_capped_sample_is_that_of_dp_accounting() -> None:
    release = sampled(2.0, 0.05, "capped_poisson", population=1000, cap=60)
    theirs = PLDAccountant(NeighboringRelation.ADD_OR_REMOVE_ONE, 1e-3)
    theirs.compose(release.event("add_or_remove_one"), 20)
    ours = compose([(release, 20)], relation="add_or_remove_one", interval=1e-3)
    assert ours.get_epsilon(1e-5) == pytest.approx(theirs.get_epsilon(1e-5), rel=1e-7)


def test_two_kinds_of_releases_compose() -> None:
    theirs = PLDAccountant(NeighboringRelation.ADD_OR_REMOVE_ONE, 1e-3)
    for z, rate, steps in ((1.0, 0.02, 50), (2.0, 0.05, 30)):
        theirs.compose(PoissonSampledDpEvent(rate, GaussianDpEvent(z)), steps)
    ours = compose(
        [(sampled(1.0, 0.02), 50), (sampled(2.0, 0.05), 30)], relation="add_or_remove_one", interval=1e-3
    )
    assert ours.get_epsilon(1e-5) == pytest.approx(theirs.get_epsilon(1e-5), rel=1e-7)


def test_one_step_is_the_closed_form_of_the_mixture() -> None:
    # delta(epsilon) = sup over both directions of the hockey-stick divergence of (1-q) N(0) + q N(1) and N(0)
    q, z, epsilon = 1e-6, 0.4, 1.0
    x = 0.5 + z**2 * math.log1p(math.expm1(epsilon) / q)
    removed = (1 - q) * norm.sf(x / z) + q * norm.sf((x - 1) / z) - math.exp(epsilon) * norm.sf(x / z)
    ours = compose([(sampled(z, q), 1)], relation="add_or_remove_one", interval=1e-4)
    assert ours.get_delta(epsilon) == pytest.approx(removed, abs=5e-15)


@pytest.mark.parametrize(("rate", "z"), [(1e-6, 0.4), (1e-9, 0.2)])
def test_a_hundred_thousand_rare_releases_do_not_depend_on_the_grid(rate: float, z: float) -> None:
    # dp-accounting alone wanders by 1 % and more here, below the truth too: its convolution rounds at 1e-11
    found = [
        compose([(sampled(z, rate), 100_000)], relation="add_or_remove_one", interval=h).get_epsilon(1e-9)
        for h in (4e-3, 2e-3, 1e-3)
    ]
    assert np.ptp(found) < 2e-3 * found[0]
    assert found[0] >= found[-1] * (1 - 1e-5)


def test_rounding_is_paid_for() -> None:
    composed = compose([(sampled(1.0, 1e-3), 100_000)], relation="add_or_remove_one", interval=2e-3)
    assert 1e-13 < composed.rounding < 1e-10
    assert composed.get_epsilon(composed.rounding / 2) == math.inf
    assert composed.get_delta(1e3) >= composed.rounding
