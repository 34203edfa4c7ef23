"""Shares of discrete noise under a secure sum: sampler, rounding, masks, recovery, accounting, and whole runs."""

import json
import math
from dataclasses import replace

import mpmath
import numpy as np
import pytest
import torch
from halves import gathered, senders
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fedpriv.accounting.accountants import epsilon
from fedpriv.accounting.discrete_gaussian import SumOfShares, rounded_norm, sum_gap
from fedpriv.accounting.gaussian_dp import gaussian_epsilon
from fedpriv.accounting.ledger import LedgerTables, compositions
from fedpriv.errors import ConfigError
from fedpriv.privacy import ClippingGrid
from fedpriv.privacy.discrete_noise import discrete_gaussian
from fedpriv.privacy.mechanisms import DistributedGaussian
from fedpriv.privacy.mechanisms.distributed import _rounded
from fedpriv.privacy.pairwise_masks import PairwiseMasks, neighbours
from fedpriv.privacy.rotation import Rotation, padded
from fedpriv.verification import verify

CLIENTS, SIZE = 10, 3000
COHORT = np.arange(CLIENTS)


def make(streams, kind=DistributedGaussian, *, noise_multiplier=1.0, survivors=8, bits=20, granularity=None, **own):
    return kind(
        clipping_norm=2.0,
        size=SIZE,
        cohort=CLIENTS,
        survivors=survivors,
        granularity=granularity,
        num_clients=CLIENTS,
        noise_multiplier=noise_multiplier,
        secure_sum=PairwiseMasks(bits=bits, streams=streams),
        streams=streams,
        **own,
    )


def told(mechanism, cohort=COHORT, round_number=1, attempt=0):
    return mechanism.told(round_number=round_number, attempt=attempt, cohort=cohort, state={})


def sent(mechanism, updates, *, cohort=COHORT, round_number=1, attempt=0):
    """What all of these clients send, a row each."""
    who = senders(
        cohort,
        noise_multipliers=mechanism.local_noise_multipliers(cohort),
        round_number=round_number,
        attempt=attempt,
        told=told(mechanism, cohort, round_number, attempt),
    )
    return mechanism.encode(updates, senders=who).values


def released(mechanism, updates, *, answered=COHORT, round_number=1, attempt=0):
    rows = sent(mechanism, updates, round_number=round_number, attempt=attempt)
    total = rows[torch.from_numpy(answered)].sum(dim=0)
    key = {"round_number": round_number, "attempt": attempt}
    return mechanism.decode(gathered(total, size=SIZE, cohort=COHORT, answered=answered, **key))


def zeros():
    return torch.zeros(CLIENTS, SIZE)


# -- the sampler -------------------------------------------------------------------------------------------


def mass(x, std):
    support = np.arange(-60 - int(40 * std), 61 + int(40 * std))
    weights = np.exp(-(support.astype(float) ** 2) / (2 * std**2))
    return np.exp(-(np.asarray(x, dtype=float) ** 2) / (2 * std**2)) / weights.sum()


@pytest.mark.parametrize("std", [0.4, 0.8, 1.0, 3.3, 40.0])
def test_samples_follow_the_discrete_gaussian_and_no_rounded_one(std):
    samples = discrete_gaussian(np.random.default_rng(1), std=std, size=200_000)
    edge = max(1, int(2.5 * std))
    inside = np.arange(-edge, edge + 1)
    expected = np.append(mass(inside, std), 1 - mass(inside, std).sum()) * len(samples)

    def p_value(found):
        counts = np.array([(found == x).sum() for x in inside])
        return stats.chisquare(np.append(counts, len(found) - counts.sum()), expected).pvalue

    assert p_value(samples) > 1e-4
    if std < 1:  # wider ones differ too little to tell
        assert p_value(np.rint(np.random.default_rng(2).normal(scale=std, size=len(samples)))) < 1e-9
    assert p_value(discrete_gaussian(np.random.default_rng(3), std=1.05 * std, size=200_000)) < 1e-4


@pytest.mark.parametrize("std", [2.0**13, 2.0**29])
def test_wide_samples_are_as_exact_as_narrow_ones(std):
    """Every residue is as likely, and the spread is right: integers come from integers, not from scaled floats."""
    samples = discrete_gaussian(np.random.default_rng(1), std=std, size=200_000)
    assert stats.chisquare(np.bincount(samples & 255, minlength=256)).pvalue > 1e-4
    assert stats.kstest(samples / std, "norm").pvalue > 1e-4
    assert stats.kstest(samples / (1.02 * std), "norm").pvalue < 1e-4


# -- rotation, rounding, masks -----------------------------------------------------------------------------


@given(size=st.integers(1, 70), seed=st.integers(0, 2**62))
def test_a_rotation_keeps_norms_and_is_undone(size, seed):
    vectors = torch.randn(3, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    there = Rotation(seed).there(vectors)
    assert there.shape == (3, padded(size))
    assert torch.allclose(there.norm(dim=1), vectors.norm(dim=1))
    assert torch.allclose(Rotation(seed).back(there, size=size), vectors)


def test_a_rotation_spreads_what_lies_on_one_coordinate():
    vector = torch.zeros(1, 1024)
    vector[0, 3] = 1
    assert torch.allclose(Rotation(5).there(vector).abs(), torch.full((1, 1024), 1 / 32, dtype=torch.float64))


@given(norm=st.floats(0.1, 50), size=st.integers(1, 200), seed=st.integers(0, 100))
def test_rounding_is_to_neighbours_and_keeps_the_norm_that_is_claimed(norm, size, seed):
    rng = np.random.default_rng(seed)
    vector = rng.normal(size=size)
    vector *= norm / np.linalg.norm(vector)
    rounded = _rounded(vector, most=rounded_norm(norm, size), rng=rng)
    assert np.abs(rounded - vector).max() < 1
    assert np.linalg.norm(rounded) <= rounded_norm(norm, size)


def test_rounding_is_right_on_average_and_seldom_repeated():
    rng, vector = np.random.default_rng(0), np.full(100, 0.3)
    bound = rounded_norm(3.0, 100)
    rows = np.array([_rounded(vector, most=bound, rng=rng) for _ in range(4000)])
    assert rows.mean() == pytest.approx(0.3, abs=0.01)
    free = vector + 0 < rng.random((4000, 100))
    assert (np.linalg.norm(~free, axis=1) <= bound).mean() > 1 - math.exp(-0.5)


@pytest.mark.parametrize("away", [0, 0.01, 0.3])
@pytest.mark.parametrize("bits", [7, 16, 27])
def test_a_sum_is_that_of_who_answered_bit_for_bit(away, bits, new_streams):
    masks, cohort = PairwiseMasks(bits=bits, streams=new_streams(3)), np.arange(100) * 7
    rng = np.random.default_rng(4)
    values = rng.integers(-(2**40), 2**40, size=(100, 50))
    answered = np.sort(rng.permutation(100)[: 100 - round(away * 100)])
    key = {"cohort": cohort, "round_number": 5, "attempt": 1}
    sent = np.array([masks.mask(row, client=int(c), **key) for row, c in zip(values, cohort, strict=True)])
    found = masks.unmask(sent[answered].sum(axis=0), answered=cohort[answered], **key)
    assert np.array_equal(found, values[answered].sum(axis=0) % 2**bits)
    others = {**key, "attempt": 0}
    assert not np.array_equal(masks.unmask(sent[answered].sum(axis=0), answered=cohort[answered], **others), found)


@pytest.mark.parametrize("bits", [8, 16, 20])
def test_the_servers_view_of_masked_shares_is_uniform(bits, new_streams):
    masks, cohort = PairwiseMasks(bits=bits, streams=new_streams(0)), np.arange(6)
    key = {"cohort": cohort, "round_number": 1, "attempt": 0}
    views = [masks.mask(np.full(60_000, 17), client=client, **key) for client in (0, 1)]
    for words in (*views, (views[0] - views[1]) % 2**bits, np.diff(views[0]) % 2**bits):
        counts = np.bincount(words >> (bits - 6), minlength=64)
        low = np.bincount(words & 63, minlength=64)
        assert min(stats.chisquare(counts).pvalue, stats.chisquare(low).pvalue) > 1e-5
    assert stats.chisquare(np.bincount(np.full(60_000, 17) & 63, minlength=64) + 1e-9).pvalue < 1e-9


@given(count=st.integers(1, 40), round_number=st.integers(1, 5))
def test_neighbours_are_mutual_and_reach_everybody(count, round_number):
    graph = neighbours(np.arange(count), round_number=round_number)
    assert all(client in graph[other] for client, others in graph.items() for other in others)
    assert all(client not in others for client, others in graph.items())
    reached, new = {0}, [0]
    while new:
        new = [other for other in graph[new.pop()] if other not in reached and not reached.add(other)] + new
    assert len(reached) == count


# -- accounting --------------------------------------------------------------------------------------------


def exact_epsilon(pmf, shift, delta):
    """Of one integer, by enumeration: the least epsilon with hockey-stick divergence at most delta, both ways."""
    other = np.roll(pmf, shift)

    def divergence(e):
        return max(np.maximum(pmf - math.exp(e) * other, 0).sum(), np.maximum(other - math.exp(e) * pmf, 0).sum())

    low, high = 0.0, 50.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if divergence(middle) <= delta else (middle, high)
    return high


def sum_of(std, shares):
    support = np.arange(-400, 401)
    one = mass(support, std)
    total = one
    for _ in range(shares - 1):
        total = np.convolve(total, one, mode="same")
    return total


def test_golden_exact_epsilon_of_one_discrete_gaussian():
    assert exact_epsilon(sum_of(1.0, 1), 1, 1e-5) == pytest.approx(4.4302, abs=1e-4)


@pytest.mark.parametrize("std", [0.75, 1.0, 2.5])
@pytest.mark.parametrize("shares", [1, 2, 5, 20])
@pytest.mark.parametrize("shift", [1, 3])
def test_epsilon_is_never_below_the_exact_one_of_a_sum(std, shares, shift):
    exact = exact_epsilon(sum_of(std, shares), shift, 1e-5)
    multiplier = std * math.sqrt(shares) / shift
    release = SumOfShares(
        noise_multiplier=multiplier, norm=float(shift), dimension=1, survivors=shares, shares=shares
    )
    assert release.share_variance == pytest.approx(std**2)
    stated = epsilon({release: 1}, delta=1e-5, relation="zero_out", accountant="pld").value
    assert stated >= exact
    assert stated <= 1.25 * exact + 0.3 or sum_gap(std**2, shares) > 1e-3


@pytest.mark.parametrize(("std", "shares", "shift"), [(12.0, 5, 10), (5.0, 20, 30), (15.0, 1, 12), (4.0, 9, 12)])
def test_of_wide_shares_it_is_that_of_a_gaussian_to_a_percent(std, shares, shift):
    exact = exact_epsilon(sum_of(std, shares), shift, 1e-5)
    assert exact <= stated_epsilon(std, shares, shift, dimension=1) <= 1.03 * exact + 1e-3


@pytest.mark.parametrize("change", [(2, 3), (4, 0), (4, 4), (6, -2), (1, 9)])
@pytest.mark.parametrize(("std", "shares"), [(1.0, 2), (3.0, 1), (2.0, 4), (6.0, 1)])
def test_epsilon_is_never_below_the_exact_one_of_a_vector(std, shares, change):
    one = sum_of(std, shares)[330:471]
    plane = np.outer(one, one)
    moved = np.roll(plane, change, axis=(0, 1))

    def divergence(e):
        return np.maximum(plane - math.exp(e) * moved, 0).sum()

    stated = stated_epsilon(std, shares, math.hypot(*change), dimension=2)
    assert divergence(stated) <= 1e-5
    release = whole_sum(std, shares, math.hypot(*change), dimension=2)
    losses = type(release).loss(((release, 1),), "zero_out")
    grid = np.linspace(0.0, stated, 7)
    assert (losses.deltas(grid) >= [divergence(e) * (1 - 1e-9) for e in grid]).all()


SUMS = st.tuples(st.floats(0.75, 8.0), st.integers(1, 6), st.integers(0, 3), st.integers(1, 9))
"""Of shares: standard deviation of one, fewest of them, how many more there can be, and a client's addend."""
RELATIONS = st.sampled_from([("zero_out", 1), ("replace_one", 2)])


def a_sum(std, fewest, more, norm):
    return SumOfShares(
        noise_multiplier=std * math.sqrt(fewest) / norm,
        norm=float(norm),
        dimension=1,
        survivors=fewest,
        shares=fewest + more,
    )


def apart(mass_of_sum, moved):
    """The law of a sum and that of its neighbour, on all integers where either has any of the mass."""
    return np.pad(mass_of_sum, (0, moved)), np.pad(mass_of_sum, (moved, 0))


def exact_deltas(laws, epsilons):
    """Of one or two independent sums, each a pair of laws; rounding is about 1e-16."""
    left, right = laws[0] if len(laws) == 1 else (np.outer(a, b) for a, b in zip(*laws, strict=True))
    return np.array([np.maximum(right - math.exp(e) * left, 0).sum() for e in epsilons])


def check_never_below(sums, relation, moves):
    """Epsilon and delta of the sums together, for every number of shares between the fewest and the most."""
    releases = [a_sum(*parts) for parts in sums]
    losses = SumOfShares.loss(tuple((release, 1) for release in releases), relation)
    stated = [losses.epsilon(delta) for delta in (1e-2, 1e-5, 1e-9, 1e-12)]
    grid = np.array([0.0, 1e-9, 1e-3, 0.1, *np.linspace(0.2, 1.2, 6) * stated[1]])
    for left_out in (False, True):
        laws = [
            apart(sum_of(std, fewest + more * left_out), norm * moves) for std, fewest, more, norm in sums
        ]
        assert (exact_deltas(laws, stated) <= np.array([1e-2, 1e-5, 1e-9, 1e-12]) * (1 + 1e-9) + 1e-15).all()
        assert (losses.deltas(grid) >= exact_deltas(laws, grid) * (1 - 1e-9) - 1e-15).all()


@settings(max_examples=40, deadline=None)
@given(one=SUMS, relation=RELATIONS)
def test_no_sum_between_survivors_and_shares_tells_more_than_is_stated(one, relation):
    check_never_below([one], *relation)


@settings(max_examples=15, deadline=None)
@given(one=SUMS, other=SUMS, relation=RELATIONS)
def test_no_two_rounds_tell_more_than_is_stated_of_both(one, other, relation):
    check_never_below([one, other], *relation)


@pytest.mark.parametrize(("std", "shares"), [(12.0, 9), (20.0, 50)])
def test_tiny_deltas_are_those_of_a_gaussian(std, shares):
    """Beyond what float64 can enumerate: by mpmath, the closed form of the Gaussian that the sum is rounded from."""
    losses = SumOfShares.loss(((whole_sum(std, shares, 8.0, dimension=1000), 3),), "zero_out")
    mu = mpmath.mpf(8 * math.sqrt(3)) / mpmath.sqrt(std**2 * shares - 4)
    assert losses.mu == pytest.approx(float(mu), rel=1e-12)
    for delta in (1e-12, 1e-15, 1e-30, 1e-100):
        e = mpmath.mpf(losses.epsilon(delta))
        with mpmath.workdps(160):
            exact = mpmath.ncdf(mu / 2 - e / mu) - mpmath.exp(e) * mpmath.ncdf(-mu / 2 - e / mu)
            assert exact <= delta * (1 + mpmath.mpf(1e-8))
            assert losses.deltas(np.array([float(e)]))[0] >= exact * (1 - mpmath.mpf(1e-8))
        assert losses.gap < 1e-16


def test_a_smaller_modulus_costs_more_than_a_gaussian_never_less():
    for std in (0.8, 1.5, 4.0, 40.0):
        wide = whole_sum(std, 10, 2 * std, dimension=100)
        mu, _ = wide.gaussian("zero_out")
        assert mu >= 1 / wide.noise_multiplier
        assert stated_epsilon(std, 10, 2 * std, dimension=100) >= gaussian_epsilon(1 / wide.noise_multiplier, 1e-5)


def whole_sum(std, shares, norm, *, dimension):
    return SumOfShares(
        noise_multiplier=std * math.sqrt(shares) / norm,
        norm=float(norm),
        dimension=dimension,
        survivors=shares,
        shares=shares,
    )


def stated_epsilon(std, shares, norm, *, dimension):
    release = whole_sum(std, shares, norm, dimension=dimension)
    return epsilon({release: 1}, delta=1e-5, relation="zero_out", accountant="pld").value


def test_the_gap_vanishes_for_wide_shares_and_narrow_ones_are_refused():
    assert sum_gap(1.0, 1) == 0
    assert sum_gap(0.5, 2) == pytest.approx(10 * math.exp(-math.pi**2 / 2))
    assert sum_gap(9.0, 1000) < 1e-35
    narrow = SumOfShares(noise_multiplier=1.0, norm=1.0, dimension=4, survivors=10, shares=10)
    assert narrow.rho("zero_out") == math.inf


def test_fewer_survivors_or_a_replaced_client_cost_more():
    release = SumOfShares(noise_multiplier=2.0, norm=500.0, dimension=64, survivors=8, shares=10)
    assert release.rho("replace_one") == pytest.approx(4 * release.rho("zero_out"))
    assert release.rho("zero_out") == pytest.approx(1 / 8)


# -- the mechanism -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("answering", [10, 8])
def test_the_sum_has_the_noise_of_who_answered_and_at_least_the_claimed_one(answering, new_streams, judge):
    mechanism = make(new_streams(0))
    [claimed] = set(mechanism.entry(round_number=1, attempt=0, cohort=COHORT).noise_std)
    noise = released(mechanism, zeros(), answered=COHORT[:answering]).numpy() * CLIENTS
    std = claimed * math.sqrt(answering / 8)
    assert judge.has_std(noise, std)
    assert not judge.has_std(noise, 0.9 * std)


def test_noise_is_independent_over_clients_rounds_and_attempts(new_streams, judge):
    mechanism = make(new_streams(0))
    key = {"noise_multiplier": 1.0, "client": 1, "round_number": 1, "attempt": 0}
    positions = [{}, {"client": 2}, {"round_number": 2}, {"attempt": 1}, {"client": 1 + 2**32}]
    shares = [mechanism.quantised(np.zeros(4096), **{**key, **position}) for position in positions]
    assert judge.are_independent(shares)


def test_the_mean_is_that_of_clipped_updates_to_a_few_grid_steps(new_streams):
    mechanism = make(new_streams(0), noise_multiplier=0.0)
    updates = torch.randn(CLIENTS, SIZE, generator=torch.Generator().manual_seed(1))
    updates[0] *= 1e-3
    grid = ClippingGrid(clipping_norm=2.0, summands=CLIENTS)
    expected = grid.decode(grid.encode(updates).values).mean(dim=0)
    found = released(mechanism, updates)
    assert (found - expected).norm() < 2 * mechanism._step(0.0) * math.sqrt(SIZE / CLIENTS)


def test_the_sum_of_quantised_values_arrives_bit_for_bit(new_streams):
    mechanism = make(new_streams(0))
    updates = torch.randn(CLIENTS, SIZE, generator=torch.Generator().manual_seed(1))
    rows = sent(mechanism, updates)
    answered = COHORT[1:]
    total = mechanism.secure_sum.unmask(
        rows[1:].sum(dim=0).numpy(), answered=answered, cohort=COHORT, round_number=1, attempt=0
    )
    grid = ClippingGrid(clipping_norm=2.0, summands=1)
    rotated = Rotation(int(told(mechanism)["rotation"])).there(grid.decode(grid.encode(updates).values)).numpy()
    plain = [
        mechanism.quantised(rotated[k], noise_multiplier=1.0, client=k, round_number=1, attempt=0) for k in answered
    ]
    assert np.array_equal(total, np.sum(plain, axis=0) % 2**20)


def test_with_too_few_the_round_is_aborted(new_streams):
    assert released(make(new_streams(0)), zeros(), answered=COHORT[:7]) is None


def test_what_is_not_finite_sends_noise_alone(new_streams):
    mechanism = make(new_streams(0))
    updates = zeros()
    updates[3, 5] = math.nan
    updates[4, 5] = math.inf
    assert torch.equal(sent(mechanism, updates), sent(mechanism, zeros()))


def test_the_ledger_adds_up_to_the_plan(new_streams):
    mechanism = make(new_streams(0))
    entries = [mechanism.entry(round_number=r, attempt=0, cohort=COHORT) for r in (1, 2, 3)]
    counts = np.full(CLIENTS, 3)
    planned = mechanism.planned(counts, first_round=1, last_round=3, attempt=0)
    assert planned == compositions(entries)
    assert list(LedgerTables().entries(json.loads(json.dumps(e.to_json())) for e in entries)) == entries


def test_a_modulus_without_room_for_the_sum_is_refused(new_streams):
    with pytest.raises(ConfigError, match="Use more bits or less noise"):
        make(new_streams(0), bits=5)


@pytest.mark.parametrize("noise_multiplier", [0.1, 1.0, 8.0, 16.0])
@pytest.mark.parametrize("bits", [14, 16, 30])
def test_grid_steps_are_as_fine_as_the_modulus_allows(bits, noise_multiplier, new_streams):
    made = make(new_streams(0), bits=bits, noise_multiplier=noise_multiplier)
    step = made._step(noise_multiplier)
    assert made.has_room
    assert not replace(made, granularity=0.99 * step).has_room
    assert replace(made, granularity=1.1 * step).has_room
    update = ClippingGrid(clipping_norm=2.0, summands=1)  # of one mind, so that sums are as wide as they get
    row = Rotation(7).there(update.decode(update.encode(torch.ones(1, SIZE)).values)).numpy()[0]
    plain = [
        made.quantised(row, noise_multiplier=noise_multiplier, client=k, round_number=1, attempt=0)
        for k in range(CLIENTS)
    ]
    assert np.std(np.sum(plain, axis=0)) == pytest.approx(2 ** (bits - 3), rel=0.05)


@pytest.mark.parametrize("bits", [4, 5, 6])
@pytest.mark.parametrize("cohort", [4, 16, 1000])
def test_few_bits_are_refused_in_words_whatever_the_cohort(bits, cohort, new_streams):
    enough, masks = make(new_streams(0)), PairwiseMasks(bits=bits, streams=new_streams(0))
    with pytest.raises(ConfigError, match="too few"):
        replace(enough, cohort=cohort, survivors=4, secure_sum=masks)


# -- planted faults: each is caught by one of the judgements above ----------------------------------------


class SharesForAll(DistributedGaussian):
    """The noise of all clients is the claimed one, where it should be that of the survivors."""

    def quantised(self, vector, *, noise_multiplier, **position):
        return super().quantised(vector, noise_multiplier=noise_multiplier * math.sqrt(8 / 10), **position)


class OneShareForAll(DistributedGaussian):
    def quantised(self, vector, *, client, **position):
        return super().quantised(vector, client=0, **position)


class SameSharesEveryRound(DistributedGaussian):
    def quantised(self, vector, *, round_number, attempt, **position):
        return super().quantised(vector, round_number=1, attempt=0, **position)


def test_planted_faults_of_the_noise_are_caught(new_streams, judge):
    honest = make(new_streams(0), granularity=1e-3)
    claimed = honest.entry(round_number=1, attempt=0, cohort=COHORT).noise_std[0]
    few = COHORT[:8]
    assert judge.has_std(released(honest, zeros(), answered=few).numpy() * CLIENTS, claimed)
    for fault in (SharesForAll, OneShareForAll):
        noise = released(make(new_streams(0), fault, granularity=1e-3), zeros(), answered=few).numpy() * CLIENTS
        assert not judge.has_std(noise, claimed)
    repeated = make(new_streams(0), SameSharesEveryRound)
    key = {"noise_multiplier": 1.0, "client": 1, "attempt": 0}
    rounds = [repeated.quantised(np.zeros(4096), round_number=r, **key) for r in (1, 2)]
    assert not judge.are_independent(rounds)


def test_rounding_without_the_condition_is_caught():
    """It exceeds the norm that the conditional sensitivity claims."""
    rng, vector = np.random.default_rng(0), np.full(400, 0.5)
    bound = rounded_norm(10.0, 400)
    free = [np.linalg.norm(_rounded(vector, most=math.inf, rng=rng)) for _ in range(1000)]
    assert 0 < np.mean(np.array(free) > bound) < 1 - math.exp(-0.5) + 0.05


def test_masks_that_do_not_cancel_are_caught(new_streams):
    class OneWay(PairwiseMasks):
        def _between(self, round_number, attempt, client, other, size):
            return self._words(round_number, attempt, min(client, other), max(client, other), size)

    masks = OneWay(bits=16, streams=new_streams(0))
    key = {"cohort": COHORT, "round_number": 1, "attempt": 0}
    total = sum(masks.mask(np.ones(9, dtype=np.int64), client=int(c), **key) for c in COHORT)
    assert not np.array_equal(masks.unmask(total, answered=COHORT, **key), np.full(9, CLIENTS))


# -- runs --------------------------------------------------------------------------------------------------

RUN = ("privacy=distributed", "partition.num_clients=8", "sampling.cohort=4", "privacy.epsilon=6", "rounds=4")


@pytest.fixture(scope="module")
def ran(run_digits):
    return run_digits(*RUN)


def test_a_run_earns_its_target_against_a_server_that_sees_sums(ran):
    stated = ran.record.guarantee
    assert 5.9 < stated["epsilon"] <= 6
    assert (stated["trust_model"], stated["relation"], stated["bound"]) == ("distributed", "zero_out", "upper bound")
    assert "upper bound of sums" in stated["method"]
    cells = {(cell["unit"], cell["observer"]): cell["epsilon"] for cell in stated["threat_matrix"]}
    assert cells["client", "secure_aggregation_server"] == stated["epsilon"]
    assert cells["client", "curious_server"] is cells["client", "other_clients"] is None
    assert cells["example", "final_model"] > stated["epsilon"]
    assert verify(ran.folder).holds


def test_dropouts_within_the_tolerance_go_on_and_beyond_it_abort(run_digits):
    from fedpriv.records.tables import read_table

    drops = ("federation.dropout=0.3", "rounds=6")
    ran = run_digits(*RUN[:-1], *drops, "privacy.tolerated_dropout=0.3")
    rows = read_table(ran.folder, "rounds").to_pylist()
    assert [row["aborted"] for row in rows] == [row["replied"] < 3 for row in rows]
    assert {row["aborted"] for row in rows} == {True, False}
    events = [json.loads(line) for line in (ran.folder / "audit.jsonl").read_text().splitlines()]
    told = [line["round"] for line in events if line["event"] == "round_aborted"]
    assert told == [row["round"] for row in rows if row["aborted"]]
    assert len((ran.folder / "ledger.jsonl").read_text().splitlines()) == 6  # aborted rounds are paid for
    assert verify(ran.folder).holds


@pytest.mark.parametrize(
    "change", [{"survivors": 5}, {"step": 1e-9}, {"clipping_norm": 0.1}, {"shares": 9}, {"dimension": 4}]
)
def test_ledgers_whose_numbers_do_not_fit_each_other_are_refused(change, ran):
    from fedpriv.accounting.guarantee import state_guarantee
    from fedpriv.accounting.terms import Terms

    decisions = [json.loads(line) for line in (ran.folder / "audit.jsonl").read_text().splitlines()]
    terms = Terms.from_json(next(line["terms"][0] for line in decisions if line["event"] == "started"))
    lines = [json.loads(line) for line in (ran.folder / "ledger.jsonl").read_text().splitlines()]
    entries = list(LedgerTables().entries(lines))
    assert state_guarantee(entries, terms=terms) is not None
    forged = [replace(e, details=tuple({**dict(e.details), **change}.items())) for e in entries]
    with pytest.raises(ConfigError):
        state_guarantee(forged, terms=terms)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (("sampling=poisson",), "shares of noise are made for one"),
        (("sampling=fixed_size", "sampling.participation_cap=1"), "no sampling.participation_cap"),
        (("sampling.cohort=null", "sampling=round_robin", "sampling.separation=3"), "cohorts of unlike sizes"),
        (("privacy.granularity=1e-9",), "privacy.granularity=1e-09 is too fine"),
        (("privacy.relation=add_or_remove_one",), "the server sees who takes part"),
        (("privacy.tolerated_dropout=1",), "must be in"),
        (("privacy.bits=40",), "privacy.bits=40 must lie between 4 and 32"),
        (("strategy=scaffold", "training=sgd"), "not private at client level"),
    ],
)
def test_what_cannot_hold_is_refused(overrides, told, run_digits):
    with pytest.raises(ConfigError, match=told):
        run_digits(*RUN, *overrides)
