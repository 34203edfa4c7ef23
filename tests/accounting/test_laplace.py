"""Laplace reports: PLD values against integrals and enumeration, never below the truth."""

import math

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution as pld

from fedpriv.accounting.accountants import epsilon
from fedpriv.accounting.laplace import LaplaceLoss, LaplaceReport
from fedpriv.errors import ConfigError


def of(pure, times=1):
    """Loss of reports that are each pure ``pure``-DP."""
    return LaplaceLoss(((pure, times),))


def delta_of_one(pure, at):
    """Balle, Barthe & Gaboardi 2018, Theorem 3."""
    return max(0.0, 1 - math.exp((at - pure) / 2))


@pytest.mark.parametrize("pure", [1e-3, 0.1, 1.0, 5.0, 40.0])
def test_one_report_has_the_closed_form(pure):
    for share in (0.1, 0.5, 0.9):
        exact = delta_of_one(pure, share * pure)
        found = float(of(pure).deltas(np.array([share * pure]))[0])
        assert exact <= found <= exact * 1.01 + 1e-9
    assert of(pure).epsilon(1e-12) <= pure


@pytest.mark.parametrize(("pure", "times"), [(0.5, 2), (1.0, 3), (0.1, 30), (0.05, 200), (0.01, 5000)])
def test_several_reports_are_never_below_the_truth_and_near_it(pure, times):
    """Against the sum of losses, sampled: under one hypothesis the loss of a report is |x - 1/b| - |x|, times 1/b."""
    rng = np.random.default_rng(0)
    x = rng.laplace(size=(200_000 if times < 100 else 20_000, min(times, 200)))
    losses = np.clip(np.abs(x - pure) - np.abs(x), -pure, pure)
    if times > 200:  # nearly Gaussian by then
        mean, std = losses.mean() * times, losses.std() * math.sqrt(times)
        total = rng.normal(-mean * 0 + mean, std, size=200_000)
    else:
        total = losses.sum(axis=1)
    for delta in (1e-2, 1e-3):
        value = of(pure, times).epsilon(delta)
        measured = float(np.mean(np.maximum(0, 1 - np.exp(np.minimum(0, value - total)))))
        assert measured <= delta * 1.15
        nearer = 0.97 * value - 2e-3
        assert np.mean(np.maximum(0, 1 - np.exp(np.minimum(0, nearer - total)))) >= delta * 0.85
        assert value <= of(pure, times).fast_epsilon(delta) + 1e-9
        assert value <= pure * times


def test_a_difference_along_one_axis_is_the_worst_of_its_l1_norm():
    """Laplace noise on every coordinate: whatever a distance is split into, no delta is larger than unsplit."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        whole = float(rng.choice([0.3, 1.0, 4.0]))
        parts = np.maximum(rng.dirichlet(np.ones(rng.integers(2, 5))), 1e-3)
        parts *= whole / parts.sum()
        grid, at = whole / 2000, np.linspace(0, whole, 40)
        split = [pld.from_laplace_mechanism(1 / part, value_discretization_interval=grid) for part in parts.tolist()]
        composed = split[0]
        for other in split[1:]:
            composed = composed.compose(other)
        # an upper bound of what is split, against the exact value of what is not
        exact = [delta_of_one(whole, epsilon) for epsilon in at.tolist()]
        assert (composed.get_delta_for_epsilon(at) <= np.array(exact) + 2e-3).all()


@pytest.mark.parametrize("noise_multiplier", [0.05, 1.0, 30.0])
def test_replacing_costs_twice_the_sensitivity(noise_multiplier):
    one = LaplaceReport(noise_multiplier=noise_multiplier)
    half = LaplaceReport(noise_multiplier=noise_multiplier / 2)
    found = [
        epsilon({release: 4}, delta=1e-5, relation=relation, accountant="pld").value
        for release, relation in ((one, "replace_one"), (half, "zero_out"))
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-12)
    assert found[0] <= 4 * 2 * math.sqrt(2) / noise_multiplier


def test_mixed_noise_composes():
    together = {LaplaceReport(noise_multiplier=m): n for m, n in ((9.0, 20), (30.0, 50))}
    apart = [
        epsilon({release: times}, delta=1e-6, relation="zero_out", accountant="pld").value
        for release, times in together.items()
    ]
    found = epsilon(together, delta=1e-5, relation="zero_out", accountant="pld").value
    assert max(apart) * 0.9 < found <= sum(apart)


def test_no_report_costs_nothing_and_no_noise_everything():
    report = LaplaceReport(noise_multiplier=1.0)
    assert epsilon({report: 0}, delta=1e-5, relation="zero_out", accountant="pld").value == 0
    silent = LaplaceReport(noise_multiplier=0.0)
    assert epsilon({silent: 1}, delta=1e-5, relation="zero_out", accountant="pld").value == math.inf


def test_sampling_is_refused():
    with pytest.raises(ConfigError, match="without sampling"):
        LaplaceReport(noise_multiplier=1.0, sampling="poisson", rate=0.1)
