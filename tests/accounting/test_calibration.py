import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.accounting.accountants import Composition, SampledGaussian, epsilon, max_epsilon
from fedpriv.accounting.calibration import calibrate, calibrate_clients
from fedpriv.accounting.sampled_gaussian import Accountant, Relation, Sampling
from fedpriv.errors import ConfigError


def released(z: float, rate: float, steps: int, sampling: Sampling = "poisson", population: int = 0) -> Composition:
    release = SampledGaussian(
        noise_multiplier=z,
        sampling=sampling,
        rate=rate,
        population=population,
        cohort=round(rate * population),
    )
    return {release: steps}


@pytest.mark.parametrize(
    ("sampling", "relation", "accountant"),
    [
        ("poisson", "add_or_remove_one", "pld"),
        ("poisson", "replace_one", "pld"),
        ("poisson", "add_or_remove_one", "rdp"),
        ("poisson", "zero_out", "prv"),
        ("poisson", "add_or_remove_one", "opacus_rdp"),
        ("all", "replace_one", "pld"),
        ("fixed_size", "replace_one", "rdp"),
        ("fixed_size", "zero_out", "rdp"),
    ],
)
@pytest.mark.parametrize("target", [0.5, 40.0])
def test_the_noise_meets_the_target_and_a_percent_less_does_not(
    sampling: Sampling, relation: Relation, accountant: Accountant, target: float
) -> None:
    rate, population = (1.0, 0) if sampling == "all" else (0.05, 200 if sampling == "fixed_size" else 0)

    def at(z: float) -> float:
        composition = released(z, rate, 60, sampling, population)
        return epsilon(composition, delta=1e-5, relation=relation, accountant=accountant).value

    z = calibrate(
        target_epsilon=target,
        delta=1e-5,
        relation=relation,
        accountant=accountant,
        release_at=lambda z: released(z, rate, 60, sampling, population),
    )
    assert target * (1 - 1e-3) <= at(z) <= target
    assert at(z * 0.99) > target
    assert z == round(z, 6)


@pytest.mark.slow
@settings(max_examples=6, deadline=None, derandomize=True)
@given(
    target=st.floats(0.05, 20.0),
    rate=st.floats(0.01, 1.0),
    steps=st.integers(1, 300),
    delta=st.sampled_from([1e-3, 1e-5, 1e-7]),
)
def test_any_target_is_met_closely(target: float, rate: float, steps: int, delta: float) -> None:
    z = calibrate(
        target_epsilon=target,
        delta=delta,
        relation="add_or_remove_one",
        accountant="pld",
        release_at=lambda z: released(z, rate, steps),
    )
    kept = epsilon(released(z, rate, steps), delta=delta, relation="add_or_remove_one", accountant="pld").value
    less = released(z * 0.99, rate, steps)
    assert kept <= target
    assert epsilon(less, delta=delta, relation="add_or_remove_one", accountant="pld").value > target


def test_inverts_the_reference_value() -> None:
    # (240/60000, 1.3, 3750, 1e-5) has epsilon 0.8336 by PLD (Opacus MNIST README's setting)
    z = calibrate(
        target_epsilon=0.8336,
        delta=1e-5,
        relation="add_or_remove_one",
        accountant="pld",
        release_at=lambda z: released(z, 240 / 60000, 3750),
    )
    assert z == pytest.approx(1.3, rel=2e-3)


def test_what_was_spent_before_counts() -> None:
    spent = released(1.0, 0.05, 30)

    def release_at(z: float) -> Composition:
        total = dict(released(z, 0.05, 60))
        for release, times in spent.items():
            total[release] = total.get(release, 0) + times
        return total

    fresh, late = (
        calibrate(target_epsilon=5.0, delta=1e-5, relation="add_or_remove_one", accountant="pld", release_at=schedule)
        for schedule in (lambda z: released(z, 0.05, 60), release_at)
    )
    assert late > fresh
    whole = epsilon(release_at(late), delta=1e-5, relation="add_or_remove_one", accountant="pld").value
    assert 5.0 * (1 - 1e-3) <= whole <= 5.0
    with pytest.raises(ConfigError, match="larger epsilon"):
        calibrate(target_epsilon=0.5, delta=1e-5, relation="add_or_remove_one", accountant="pld", release_at=release_at)


@pytest.mark.parametrize("target", [0.0, -1.0, math.inf, math.nan])
def test_a_target_that_is_no_target_is_refused(target: float) -> None:
    with pytest.raises(ConfigError, match=r"privacy\.epsilon"):
        calibrate(
            target_epsilon=target,
            delta=1e-5,
            relation="add_or_remove_one",
            accountant="pld",
            release_at=lambda z: released(z, 0.1, 5),
        )


def test_a_schedule_without_releases_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing is released"):
        calibrate(
            target_epsilon=1.0,
            delta=1e-5,
            relation="add_or_remove_one",
            accountant="pld",
            release_at=lambda z: released(z, 0.1, 0),
        )


def test_prv_cannot_go_below_its_own_error() -> None:
    with pytest.raises(ConfigError, match=r"privacy\.accountant"):
        calibrate(
            target_epsilon=0.005,
            delta=1e-5,
            relation="add_or_remove_one",
            accountant="prv",
            release_at=lambda z: released(z, 0.01, 10),
        )


def test_few_kinds_of_clients_each_get_their_own_noise() -> None:
    rates = np.array([0.5, 0.1, 0.5, 1.0, 0.1])
    counts = np.array([20, 100, 20, 10, 0])
    noise = calibrate_clients(
        target_epsilon=4.0,
        delta=1e-5,
        relation="add_or_remove_one",
        accountant="pld",
        rates=rates,
        counts=counts,
    )
    assert noise[0] == noise[2]
    assert math.isnan(noise[4])
    for rate, steps, z in zip(rates[:4], counts[:4], noise[:4], strict=True):
        own = epsilon(
            released(float(z), float(rate), int(steps)), delta=1e-5, relation="add_or_remove_one", accountant="pld"
        )
        assert 4.0 * (1 - 1e-3) <= own.value <= 4.0


@pytest.mark.slow
def test_many_unequal_clients_all_stay_within_the_target() -> None:
    rng = np.random.default_rng(5)
    sizes = np.maximum(1, np.round(rng.dirichlet(np.full(300, 0.5)) * 20_000)).astype(int)
    rates = np.minimum(1.0, 32 / sizes)
    counts = rng.binomial(25, 0.3, 300) * np.ceil(sizes / 32).astype(int)
    noise = calibrate_clients(
        target_epsilon=8.0, delta=1e-5, relation="add_or_remove_one", accountant="pld", rates=rates, counts=counts
    )
    active = counts > 0
    assert np.isnan(noise[~active]).all()
    assert np.isfinite(noise[active]).all()
    compositions = [
        released(float(z), float(q), int(n))
        for z, q, n in zip(noise[active], rates[active], counts[active], strict=True)
    ]
    worst, index = max_epsilon(compositions, delta=1e-5, relation="add_or_remove_one", accountant="pld")
    assert 8.0 * 0.97 <= worst.value <= 8.0
    assert 0 <= index < active.sum()
    # binning costs noise, but nobody more than a third
    sample = rng.choice(len(compositions), 12, replace=False)
    each = [epsilon(compositions[i], delta=1e-5, relation="add_or_remove_one", accountant="pld").value for i in sample]
    assert min(each) > 8.0 * 2 / 3
    assert max(each) <= worst.value


def test_clients_who_take_no_step_need_no_noise() -> None:
    noise = calibrate_clients(
        target_epsilon=8.0,
        delta=1e-5,
        relation="add_or_remove_one",
        accountant="pld",
        rates=np.array([0.1, 0.2]),
        counts=np.array([0, 0]),
    )
    assert np.isnan(noise).all()
