"""Central client-level DP: the noise is what the ledger says, and depends on nothing that an attacker moves."""

import itertools

import numpy as np
import pytest
import torch
from halves import gathered, senders
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.accounting.ledger import compositions
from fedpriv.accounting.sampling import cohort_sampling
from fedpriv.privacy import ClippingGrid, make_sampler
from fedpriv.privacy.mechanisms import CentralGaussian
from fedpriv.streams import Streams

SIZE = 20_000
CLIENTS = np.arange(50)


# what is said of each kind, and the public cohort that follows
KINDS = {
    "poisson": ({"cohort": 10}, 10),
    "capped_poisson": ({"cohort": 10, "cap": 12}, 10),
    "fixed_size": ({"cohort": 10}, 10),
    "all": ({}, 50),
    "round_robin": ({"separation": 5}, 10),
    "cyclic_poisson": ({"cohort": 5, "separation": 5}, 5),
}


def sampler_of(kind, streams):
    said = {"cohort": None, "separation": None, "cap": None, **KINDS[kind][0]}
    law = cohort_sampling(kind=kind, population=len(CLIENTS), **said)
    return make_sampler(law, clients=CLIENTS, streams=streams)


@pytest.fixture(params=KINDS)
def mechanism(request, new_streams):
    return make(new_streams(0), kind=request.param)


def make(streams, *, kind="poisson", noise_multiplier=1.3, clipping_norm=0.7):
    return CentralGaussian(
        grid=ClippingGrid(clipping_norm=clipping_norm, summands=len(CLIENTS)),
        sampler=sampler_of(kind, streams),
        noise_multiplier=noise_multiplier,
        streams=streams,
    )


def noise_on_sum(mechanism, *, round_number=1, attempt=0, total=None, total_weight=0.0):
    """What decode adds to the sum, the public divisor undone."""
    values = torch.zeros(SIZE, dtype=torch.int64) if total is None else total
    mean = mechanism.decode(gathered(values, weight=total_weight, round_number=round_number, attempt=attempt))
    assert mean.dtype == torch.float64
    return (mean * mechanism.sampler.law.cohort - mechanism.grid.decode(values)).numpy()


def test_noise_has_the_standard_deviation_that_the_ledger_claims(mechanism, judge):
    entry = mechanism.entry(round_number=1, attempt=0, cohort=CLIENTS[:3])
    noise = noise_on_sum(mechanism)
    assert entry.noise_std == pytest.approx(1.3 * 0.7, rel=1e-12)
    assert entry.noise_std / entry.sensitivity == pytest.approx(entry.noise_multiplier, rel=1e-12)
    assert entry.sensitivity == mechanism.grid.clipping_norm
    assert judge.has_std(noise, entry.noise_std)
    assert judge.is_gaussian(noise, entry.noise_std)
    for wrong in (2 / 3, 0.95, 1.05, 3 / 2):
        assert not judge.has_std(noise, wrong * entry.noise_std)


@pytest.mark.parametrize("factor", [0.0, 0.5, 2 / 3, 0.95, 1.05, 3 / 2])
def test_planted_fault_wrong_noise_is_caught(mechanism, judge, monkeypatch, factor):
    entry = mechanism.entry(round_number=1, attempt=0, cohort=CLIENTS)
    monkeypatch.setattr(CentralGaussian, "noise_std", property(lambda self: factor * 1.3 * 0.7))
    assert not judge.has_std(noise_on_sum(mechanism), entry.noise_std)


@settings(max_examples=25)
@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.sampled_from(sorted(KINDS)))
def test_noise_scales_with_norm_and_multiplier(judge, new_streams, clipping_norm, noise_multiplier, kind):
    mechanism = make(new_streams(1), kind=kind, clipping_norm=clipping_norm, noise_multiplier=noise_multiplier)
    assert judge.has_std(noise_on_sum(mechanism), clipping_norm * noise_multiplier)


def test_noise_is_independent_across_rounds_attempts_and_coordinates(mechanism, judge):
    noises = [noise_on_sum(mechanism, round_number=r, attempt=a) for r, a in itertools.product(range(1, 6), range(3))]
    assert judge.are_independent(noises)
    one = noises[0]
    assert judge.are_independent([one[:-1], one[1:]])
    assert judge.are_independent([one[: SIZE // 2], one[SIZE // 2 :]])


def test_planted_fault_noise_that_ignores_the_attempt_is_caught(mechanism, judge, monkeypatch):
    honest = Streams.rng
    monkeypatch.setattr(Streams, "rng", lambda self, purpose, *at: honest(self, purpose, *at[:-1]))
    assert not judge.are_independent([noise_on_sum(mechanism, attempt=0), noise_on_sum(mechanism, attempt=1)])


@pytest.mark.parametrize("other", [1, 2**32, 2**64, 2**65])
def test_noise_is_independent_between_seeds(new_streams, judge, other):
    assert judge.are_independent([noise_on_sum(make(new_streams(seed))) for seed in (0, other)])


def test_noise_depends_on_neither_the_sum_nor_the_weights(mechanism):
    """Same round, same attempt: the same noise, whoever answered with whatever and counted for however much."""
    base = noise_on_sum(mechanism)
    total = torch.randint(-(2**30), 2**30, (SIZE,), generator=torch.Generator().manual_seed(0))
    for weight in (0.0, 1.0, 1e9):
        # adding and taking away the sum rounds at 2^-53 of it
        assert np.allclose(noise_on_sum(mechanism, total=total, total_weight=weight), base, atol=1e-15, rtol=1e-12)


def test_every_client_counts_once_whatever_its_weight(mechanism):
    update = torch.linspace(-1, 1, 10, dtype=torch.float64)[None]
    encoded = [mechanism.encode(update, senders=senders(weights=[weight])).values for weight in (0.0, 1.0, 1e6)]
    assert torch.equal(encoded[0], encoded[1])
    assert torch.equal(encoded[0], encoded[2])
    assert encoded[0].dtype == torch.int64


def test_divisor_is_the_public_expected_cohort(new_streams):
    update = torch.full((4,), 0.1, dtype=torch.float64)
    for kind, (_, expected) in KINDS.items():
        mechanism = make(new_streams(0), kind=kind, noise_multiplier=0.0)
        encoded = mechanism.encode(update[None], senders=senders()).values[0]
        for answered in (1, 3, 50):
            mean = mechanism.decode(gathered(encoded * answered, weight=answered))
            assert torch.allclose(mean, update * answered / expected, rtol=1e-6)


def test_an_empty_cohort_is_noise_alone(mechanism, judge):
    entry = mechanism.entry(round_number=1, attempt=0, cohort=CLIENTS[:0])
    assert entry is not None
    assert entry.noise_std == mechanism.noise_std
    assert judge.has_std(noise_on_sum(mechanism, total=mechanism.nothing(SIZE)), 0.91)


def test_entry_does_not_depend_on_the_cohort_but_for_its_commitment(mechanism):
    """Who is in the cohort is what amplification hides."""
    lines = [mechanism.entry(round_number=3, attempt=1, cohort=CLIENTS[:k]).to_json() for k in (0, 1, 30)]
    commitments = {line.pop("clients") for line in lines}
    assert len(commitments) == 3
    assert lines[0] == lines[1] == lines[2]


def test_commitment_is_salted_by_the_noise_key(new_streams):
    """Else anybody could try all cohorts."""
    entries = [make(new_streams(s)).entry(round_number=1, attempt=0, cohort=CLIENTS[:2]) for s in (0, 0, 1)]
    assert entries[0].clients == entries[1].clients
    assert entries[0].clients != entries[2].clients


def test_no_noise_means_no_entry_and_no_plan(new_streams):
    mechanism = make(new_streams(0), noise_multiplier=0.0)
    assert mechanism.entry(round_number=1, attempt=0, cohort=CLIENTS) is None
    assert mechanism.planned(np.ones(50, dtype=np.int64), first_round=1, last_round=3, attempt=0) == {}
    assert not noise_on_sum(mechanism).any()


def test_plan_is_what_the_ledger_will_hold(mechanism):
    """To the last bit, or a calibrated run would be accounted as two kinds of release."""
    entry = mechanism.entry(round_number=1, attempt=0, cohort=CLIENTS)
    [(_, release, count)] = entry.releases()
    entries = [mechanism.entry(round_number=r, attempt=0, cohort=CLIENTS) for r in range(3, 10)]
    planned = mechanism.planned(np.ones(50, dtype=np.int64), first_round=3, last_round=9, attempt=0)
    assert planned == compositions(entries)
    assert {each for composition in planned.values() for each in composition} == {release}
    separation = mechanism.sampler.law.separation
    assert sorted(times for [times] in map(dict.values, planned.values())) == sorted(
        [count * len(range(turn, 7, separation)) for turn in range(separation)]
    )


def test_global_generators_are_left_alone(mechanism):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    noise_on_sum(mechanism)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])


def test_reseeding_global_generators_changes_no_noise(mechanism):
    base = noise_on_sum(mechanism)
    torch.manual_seed(1)
    np.random.seed(1)
    assert np.array_equal(noise_on_sum(mechanism), base)
