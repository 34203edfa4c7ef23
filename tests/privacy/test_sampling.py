"""Cohorts are drawn as they are accounted: rates, independence, exact sizes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedpriv.privacy import AllClients, FixedSizeSampler, PoissonSampler
from fedpriv.privacy.sampling import participations

ROUNDS, CLIENTS = 2000, np.arange(100, 140)


def presence(sampler, rounds=ROUNDS):
    """(rounds, clients) booleans."""
    return np.stack([np.isin(sampler.clients, sampler.cohort(r)) for r in range(1, rounds + 1)])


def fits(successes, trials, rate):
    return stats.binomtest(int(successes), int(trials), rate).pvalue > 1e-6


def poisson(streams, rate=0.15):
    return PoissonSampler(clients=CLIENTS, rate=rate, streams=streams)


def fixed_size(streams, size=6):
    return FixedSizeSampler(clients=CLIENTS, size=size, streams=streams)


def test_poisson_cohorts_have_the_accounted_rate(new_streams):
    sampler = poisson(new_streams(0))
    seen = presence(sampler)
    rate = sampler.release(1.0).rate
    assert sampler.release(1.0).sampling == "poisson"
    assert fits(seen.sum(), seen.size, rate)
    assert all(fits(count, ROUNDS, rate) for count in seen.sum(axis=0))
    for wrong in (rate * 0.9, rate * 1.1):
        assert not fits(seen.sum(), seen.size, wrong)


def test_poisson_coins_are_independent_across_clients_and_rounds(new_streams):
    seen = presence(poisson(new_streams(0))).astype(float)
    standard = (seen - seen.mean()) / seen.std()
    across_clients = np.abs(np.corrcoef(standard.T)[np.triu_indices(len(CLIENTS), 1)])
    assert across_clients.max() < 5.5 / np.sqrt(ROUNDS)
    for lag in (1, 2, 3, 7):
        assert abs((standard[lag:] * standard[:-lag]).mean()) < 5 / np.sqrt(standard.size)
    # sizes vary as a binomial's do: neither fixed nor bunched
    assert (
        stats.kstest(
            seen.sum(axis=1) + np.random.default_rng(0).uniform(-0.5, 0.5, ROUNDS),
            stats.norm(40 * 0.15, np.sqrt(40 * 0.15 * 0.85)).cdf,
        ).statistic
        < 0.06
    )
    assert np.var(seen.sum(axis=1)) == pytest.approx(40 * 0.15 * 0.85, rel=0.15)


def test_fixed_size_cohorts_are_uniform_without_replacement(new_streams):
    sampler = fixed_size(new_streams(0))
    release = sampler.release(1.0)
    seen = presence(sampler)
    assert (release.sampling, release.population, release.cohort) == ("fixed_size", 40, 6)
    assert (seen.sum(axis=1) == 6).all()
    assert all(fits(count, ROUNDS, 6 / 40) for count in seen.sum(axis=0))
    pairs = (seen.T.astype(float) @ seen)[np.triu_indices(40, 1)]
    expected = 6 / 40 * 5 / 39
    assert stats.chisquare(pairs, np.full(len(pairs), pairs.mean())).pvalue > 1e-5
    assert pairs.mean() / ROUNDS == pytest.approx(expected)


def test_everybody_is_everybody():
    sampler = AllClients(clients=CLIENTS)
    assert np.array_equal(sampler.cohort(1), CLIENTS)
    assert sampler.expected_cohort == 40
    assert sampler.release(2.0).sampling == "all"


@pytest.mark.parametrize("make", [poisson, fixed_size])
def test_cohorts_are_sorted_and_a_function_of_seed_and_round(make, new_streams):
    one, same, other = make(new_streams(0)), make(new_streams(0)), make(new_streams(2**64))
    for r in range(1, 20):
        assert np.array_equal(one.cohort(r), same.cohort(r))
        assert np.array_equal(one.cohort(r), np.unique(one.cohort(r)))
        assert np.isin(one.cohort(r), CLIENTS).all()
    assert any(not np.array_equal(one.cohort(r), other.cohort(r)) for r in range(1, 5))


def test_poisson_cohorts_may_be_empty(new_streams):
    sampler = poisson(new_streams(0), rate=0.01)
    assert any(len(sampler.cohort(r)) == 0 for r in range(1, 20))
    assert sampler.expected_cohort == pytest.approx(0.4)


@given(st.integers(1, 20), st.integers(-1, 20), st.sampled_from(["poisson", "fixed_size", "all"]))
def test_participations_count_the_cohorts(new_streams, first, more, kind):
    streams = new_streams(3)
    samplers = {"poisson": poisson(streams), "fixed_size": fixed_size(streams), "all": AllClients(clients=CLIENTS)}
    last = first + more
    counted = np.zeros(150, dtype=np.int64)
    for r in range(first, last + 1):
        counted[samplers[kind].cohort(r)] += 1
    assert np.array_equal(participations(samplers[kind], first_round=first, last_round=last, population=150), counted)
