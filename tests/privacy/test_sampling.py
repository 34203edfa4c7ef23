"""Cohorts are drawn as they are accounted: rates, independence, exact sizes, caps, turns."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedpriv.privacy.sampling import participations

ROUNDS, CLIENTS = 2000, np.arange(100, 140)
KINDS = {
    "poisson": {"cohort": 6},
    "capped_poisson": {"cohort": 6, "cap": 8},
    "fixed_size": {"cohort": 6},
    "all": {},
    "round_robin": {"separation": 4},
    "cyclic_poisson": {"cohort": 6, "separation": 4},
}


@pytest.fixture
def sampler_of(new_sampler, new_streams):
    def make(kind, *, seed=0, **changes):
        return new_sampler(kind, clients=CLIENTS, streams=new_streams(seed), **{**KINDS[kind], **changes})

    return make


def presence(sampler, rounds=ROUNDS):
    """(rounds, clients) booleans."""
    return np.stack([np.isin(sampler.clients, sampler.cohort(r)) for r in range(1, rounds + 1)])


def fits(successes, trials, rate):
    return stats.binomtest(int(successes), int(trials), rate).pvalue > 1e-6


def correlations(seen):
    standard = (seen - seen.mean()) / seen.std()
    return np.abs(np.corrcoef(standard.T)[np.triu_indices(seen.shape[1], 1)])


def test_poisson_cohorts_have_the_accounted_rate(sampler_of):
    sampler = sampler_of("poisson")
    seen = presence(sampler)
    rate = sampler.law.release(1.0).rate
    assert sampler.law.release(1.0).sampling == "poisson"
    assert fits(seen.sum(), seen.size, rate)
    assert all(fits(count, ROUNDS, rate) for count in seen.sum(axis=0))
    for wrong in (rate * 0.9, rate * 1.1):
        assert not fits(seen.sum(), seen.size, wrong)


def test_poisson_coins_are_independent_across_clients_and_rounds(sampler_of):
    seen = presence(sampler_of("poisson")).astype(float)
    standard = (seen - seen.mean()) / seen.std()
    assert correlations(seen).max() < 5.5 / np.sqrt(ROUNDS)
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


def test_fixed_size_cohorts_are_uniform_without_replacement(sampler_of):
    sampler = sampler_of("fixed_size")
    release = sampler.law.release(1.0)
    seen = presence(sampler)
    assert (release.sampling, release.population, release.cohort) == ("fixed_size", 40, 6)
    assert (seen.sum(axis=1) == 6).all()
    assert all(fits(count, ROUNDS, 6 / 40) for count in seen.sum(axis=0))
    pairs = (seen.T.astype(float) @ seen)[np.triu_indices(40, 1)]
    expected = 6 / 40 * 5 / 39
    assert stats.chisquare(pairs, np.full(len(pairs), pairs.mean())).pvalue > 1e-5
    assert pairs.mean() / ROUNDS == pytest.approx(expected)


def test_capped_cohorts_are_poisson_cut_at_random(sampler_of):
    sampler = sampler_of("capped_poisson")
    release = sampler.law.release(1.0)
    seen = presence(sampler)
    sizes = seen.sum(axis=1)
    assert (release.sampling, release.population, release.cohort, release.rate) == ("capped_poisson", 40, 8, 0.15)
    assert sizes.max() == 8
    law = stats.binom(40, 0.15)
    assert fits((sizes == 8).sum(), ROUNDS, law.sf(7))
    assert fits((sizes == 3).sum(), ROUNDS, law.pmf(3))
    expected = sum(law.pmf(k) * min(k, 8) for k in range(41)) / 40
    assert all(fits(count, ROUNDS, expected) for count in seen.sum(axis=0))  # nobody is cut more often than others


def test_everybody_is_everybody(sampler_of):
    sampler = sampler_of("all")
    assert np.array_equal(sampler.cohort(1), CLIENTS)
    assert sampler.law.cohort == 40
    assert sampler.law.release(2.0).sampling == "all"


def test_turns_come_round_and_keep_their_distance(sampler_of):
    sampler = sampler_of("round_robin")
    seen = presence(sampler, 40)
    assert (seen.sum(axis=0) == 10).all()
    assert (seen.sum(axis=1) == 10).all()
    for client in seen.T:
        assert (np.diff(np.flatnonzero(client)) == 4).all()
    assert sampler.law.release(1.0).sampling == "all"
    assert [sampler.law.most_turns(rounds) for rounds in (0, 1, 4, 5, 40)] == [0, 1, 1, 2, 10]


def test_whose_turn_it_is_does_not_depend_on_who_else_is_there(new_sampler):
    """Else adding a client would move others to other rounds, and no accountant speaks of that."""
    some = new_sampler("round_robin", clients=CLIENTS[::3], streams=None, separation=4)
    everybody = new_sampler("round_robin", clients=CLIENTS, streams=None, separation=4)
    for round_number in range(1, 9):
        assert set(some.cohort(round_number)) == set(everybody.cohort(round_number)) & set(CLIENTS[::3])


def test_cyclic_coins_are_poisson_within_a_turn(sampler_of):
    sampler = sampler_of("cyclic_poisson")
    release = sampler.law.release(1.0)
    assert (release.sampling, release.rate) == ("poisson", 0.6)
    seen = presence(sampler)
    theirs = CLIENTS[None, :] % 4 == (np.arange(ROUNDS)[:, None] % 4)
    assert not (seen & ~theirs).any()
    assert all(fits(count, ROUNDS // 4, 0.6) for count in seen.sum(axis=0))
    first = seen[::4][:, CLIENTS % 4 == 0].astype(float)
    assert correlations(first).max() < 5.5 / np.sqrt(len(first))
    assert sampler.law.cohort == 6


@given(st.integers(1, 12), st.integers(1, 30), st.integers(-1, 30))
def test_turns_count_the_rounds_of_each_residue(new_sampler, separation, first, more):
    law = new_sampler("round_robin", clients=CLIENTS, streams=None, separation=separation).law
    counted = {}
    for round_number in range(first, first + more + 1):
        counted[law.turn(round_number)] = counted.get(law.turn(round_number), 0) + 1
    told = law.turns(first, first + more)
    assert sorted(told.values()) == sorted(counted.values())
    if separation > 1:
        assert told == counted
    assert max(told.values(), default=0) <= law.most_turns(max(0, more + 1))


@pytest.mark.parametrize("kind", ["poisson", "capped_poisson", "fixed_size", "cyclic_poisson"])
def test_cohorts_are_sorted_and_a_function_of_seed_and_round(kind, sampler_of):
    one, same, other = sampler_of(kind), sampler_of(kind), sampler_of(kind, seed=2**64)
    for r in range(1, 20):
        assert np.array_equal(one.cohort(r), same.cohort(r))
        assert np.array_equal(one.cohort(r), np.unique(one.cohort(r)))
        assert np.isin(one.cohort(r), CLIENTS).all()
    assert any(not np.array_equal(one.cohort(r), other.cohort(r)) for r in range(1, 5))


def test_poisson_cohorts_may_be_empty(sampler_of):
    sampler = sampler_of("poisson", cohort=0.4)
    assert any(len(sampler.cohort(r)) == 0 for r in range(1, 20))
    assert sampler.law.cohort == pytest.approx(0.4)


@given(st.integers(1, 20), st.integers(-1, 20), st.sampled_from(sorted(KINDS)))
def test_participations_count_the_cohorts(new_sampler, new_streams, first, more, kind):
    sampler = new_sampler(kind, clients=CLIENTS, streams=new_streams(3), **KINDS[kind])
    last = first + more
    counted = np.zeros(150, dtype=np.int64)
    for r in range(first, last + 1):
        counted[sampler.cohort(r)] += 1
    assert np.array_equal(participations(sampler, first_round=first, last_round=last, population=150), counted)
