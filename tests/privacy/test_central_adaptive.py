"""Adaptive clipping: the norm that clipped is the norm that is noised, and the count's noise is part of the claim."""

import itertools
import math

import numpy as np
import pytest
import torch
from halves import gathered, senders

from fedpriv.accounting.ledger import compositions, joint_multiplier
from fedpriv.accounting.sampling import cohort_sampling
from fedpriv.errors import ConfigError
from fedpriv.privacy import make_sampler
from fedpriv.privacy.mechanisms import CentralAdaptive

SIZE = 20_000
CLIENTS = np.arange(50)
COHORT = 10


def make(streams, *, noise_multiplier=1.0, count_noise_std=5.0, initial_norm=0.7, quantile=0.5, lr=0.2):
    law = cohort_sampling(kind="poisson", population=len(CLIENTS), cohort=COHORT, separation=None, cap=None)
    return CentralAdaptive(
        initial_norm=initial_norm,
        summands=len(CLIENTS),
        target_quantile=quantile,
        clipping_lr=lr,
        count_noise_std=count_noise_std,
        sampler=make_sampler(law, clients=CLIENTS, streams=streams),
        noise_multiplier=noise_multiplier,
        streams=streams,
    )


@pytest.fixture
def mechanism(new_streams):
    return make(new_streams(0))


def state(norm):
    return {"clipping_norm": torch.tensor(norm, dtype=torch.float64)}


def noise_on_sum(mechanism, norm, **position):
    mean = mechanism.decode(gathered(mechanism.nothing(SIZE), state=state(norm), **position))
    return (mean * COHORT).numpy()


def entry_of(mechanism, norm, **position):
    key = {"round_number": 1, "attempt": 0, "cohort": CLIENTS[:3], **position}
    (entry,) = mechanism.entries(state=state(norm), **key)
    return entry


def test_the_updates_multiplier_is_that_of_the_paper(mechanism):
    """Andrew et al. 2021, Theorem 1: z = 1, sigma_b = 5."""
    assert mechanism.update_multiplier == pytest.approx(1.00504, abs=5e-6)
    assert mechanism.update_multiplier == pytest.approx((1 - (2 * 5.0) ** -2) ** -0.5, rel=1e-12)


@pytest.mark.parametrize("norm", [1e-3, 0.7, 40.0])
def test_noise_of_a_round_is_scaled_to_the_norm_that_clips_it(mechanism, judge, norm):
    entry = entry_of(mechanism, norm)
    update, count = entry.parts
    encoded = mechanism.encode(torch.full((1, SIZE), 1e9), senders=senders(told=state(norm)))
    assert encoded.values[0, -1] == -1
    sent = mechanism.decode(gathered(encoded.values[0], state=state(norm))) * COHORT - noise_on_sum(mechanism, norm)
    assert float(torch.linalg.vector_norm(sent)) == pytest.approx(update.sensitivity, rel=1e-6)
    assert update.sensitivity == norm
    assert count.sensitivity == 0.5
    noise = noise_on_sum(mechanism, norm)
    assert judge.has_std(noise, update.noise_std)
    for wrong in (1 / mechanism.update_multiplier**8, 0.95, 1.05, 2):
        assert not judge.has_std(noise, wrong * update.noise_std)
    assert joint_multiplier(entry.parts) == pytest.approx(entry.noise_multiplier, rel=1e-12)
    assert (entry.sensitivity, entry.noise_std) == (1.0, 1.0)


def test_the_count_has_the_noise_that_the_entry_says(new_streams, judge):
    """Read back from where the norm goes, whatever the update's noise."""
    mechanism = make(new_streams(0), lr=1.0, quantile=0.5)
    nobody = mechanism.nothing(3)
    steps = [
        math.log(float(mechanism.next_state(gathered(nobody, state=state(1.0), round_number=r))["clipping_norm"]))
        for r in range(1, 4001)
    ]
    counts = -np.array(steps) * COHORT
    assert judge.has_std(counts, entry_of(mechanism, 1.0).parts[1].noise_std)
    assert not judge.has_std(counts, 1.2 * mechanism.count_noise_std)
    updates = [float(noise_on_sum(mechanism, 1.0, round_number=r)[0]) for r in range(1, 401)]
    assert judge.are_independent([counts[:400], np.array(updates)])


@pytest.mark.parametrize(("unclipped", "moves"), [(0, 1), (5, 0), (10, -1)])
def test_the_rule_counts_who_was_left_unclipped(new_streams, unclipped, moves):
    """b - 1/2 of each: half of the cohort leaves the norm at its median where it is."""
    mechanism = make(new_streams(0), noise_multiplier=0.0)
    norms = [0.5] * unclipped + [2.0] * (10 - unclipped)
    updates = torch.tensor([[norm, 0.0] for norm in norms])
    encoded = mechanism.encode(updates, senders=senders(range(10), told=state(1.0)))
    assert encoded.clipped.sum() == 10 - unclipped
    after = mechanism.next_state(gathered(encoded.values.sum(dim=0), cohort=range(10), state=state(1.0)))
    assert float(after["clipping_norm"]) == pytest.approx(math.exp(moves * 0.2 * 0.5), rel=1e-12)


@pytest.mark.parametrize("start", [0.1, 10.0])
def test_the_norm_comes_to_the_target_quantile(new_streams, start):
    """Within 15 % from ten times too small and too large, with noise, over random cohorts."""
    mechanism = make(new_streams(3), initial_norm=start, quantile=0.7)
    norms = np.geomspace(0.5, 2.0, len(CLIENTS))
    now, seen = mechanism.initial_state(), []
    for round_number in range(1, 301):
        cohort = mechanism.sampler.cohort(round_number)
        updates = torch.zeros(len(cohort), 2)
        updates[:, 0] = torch.from_numpy(norms[cohort])
        encoded = mechanism.encode(updates, senders=senders(cohort, told=now))
        total = encoded.values.sum(dim=0) if len(cohort) else mechanism.nothing(2)
        now = mechanism.next_state(gathered(total, cohort=cohort, round_number=round_number, state=now))
        seen.append(float(now["clipping_norm"]))
    reached = math.exp(np.mean(np.log(seen[-150:])))
    assert reached == pytest.approx(np.quantile(norms, 0.7), rel=0.15)


def test_an_update_that_is_not_finite_counts_as_zero_and_as_clipped(mechanism):
    wild = torch.tensor([[math.nan, 1.0], [math.inf, 0.0], [0.1, 0.1]])
    encoded = mechanism.encode(wild, senders=senders(range(3), told=state(1.0)))
    assert encoded.values[:2, :-1].abs().sum() == 0
    assert encoded.values[:, -1].tolist() == [-1, -1, 1]


def test_noise_is_independent_across_rounds_and_attempts(mechanism, judge):
    positions = itertools.product((1, 2, 3), (0, 1))
    assert judge.are_independent([noise_on_sum(mechanism, 0.7, round_number=r, attempt=a) for r, a in positions])


def test_plan_is_what_the_ledger_will_hold_whatever_the_norms(mechanism):
    entries = [entry_of(mechanism, norm, round_number=r) for r, norm in enumerate((0.1, 3.0, 0.7), start=4)]
    planned = mechanism.planned(np.ones(50, dtype=np.int64), first_round=4, last_round=6, attempt=0)
    assert planned == compositions(entries)


def test_no_noise_means_no_entry(new_streams):
    mechanism = make(new_streams(0), noise_multiplier=0.0)
    assert not mechanism.entries(round_number=1, attempt=0, cohort=CLIENTS, state=state(1.0))
    assert not noise_on_sum(mechanism, 1.0).any()


def test_a_count_that_gives_more_away_than_is_claimed_is_refused(new_streams):
    with pytest.raises(ConfigError, match=r"larger privacy\.count_noise"):
        make(new_streams(0), noise_multiplier=2.0, count_noise_std=1.0)
