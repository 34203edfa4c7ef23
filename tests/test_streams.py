"""Streams: every purpose and position has coins of its own, whatever the seeds have in common."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fedpriv.streams import Streams, seed_key

PURPOSES = ("noise", "batches", "cohort", "partition", "model", "training", "dropout", "commitment", "split")
indices = st.lists(st.integers(min_value=-(2**100), max_value=2**100), max_size=5)


def streams(seed):
    return Streams(keys=dict.fromkeys(PURPOSES, seed_key(seed)))


def philox_draw(seed, purpose, *position):
    return tuple(streams(seed).rng(purpose, *position).integers(2**63, size=4).tolist())


def torch_draw(seed, purpose, *position):
    generator = streams(seed).torch_generator(purpose, *position)
    return tuple(torch.randint(2**62, (4,), generator=generator).tolist())


@pytest.mark.parametrize("draw", [philox_draw, torch_draw])
def test_same_position_gives_the_same_coins(draw):
    assert draw(7, "noise", 3, 5, 0) == draw(7, "noise", 3, 5, 0)


@pytest.mark.parametrize("draw", [philox_draw, torch_draw])
@pytest.mark.parametrize("difference", [1, 2**31, 2**32, 2**33, 2**63, 2**64, 2**65, 2**128])
@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_seeds_that_agree_in_their_low_bits_give_other_coins(draw, seed, difference):
    assert draw(seed, "noise", 1, 1, 0) != draw(seed + difference, "noise", 1, 1, 0)


@pytest.mark.parametrize("draw", [philox_draw, torch_draw])
def test_seed_0_is_a_seed(draw):
    assert draw(0, "noise", 1) == draw(0, "noise", 1)
    assert len({draw(seed, "noise", 1) for seed in range(20)}) == 20


@pytest.mark.parametrize("draw", [philox_draw, torch_draw])
@pytest.mark.parametrize("difference", [2**16, 2**32, 2**64, 2**100])
def test_clients_and_rounds_that_agree_in_their_low_bits_give_other_coins(draw, difference):
    assert draw(0, "noise", 1, 5) != draw(0, "noise", 1 + difference, 5)
    assert draw(0, "noise", 1, 5) != draw(0, "noise", 1, 5 + difference)


@pytest.mark.parametrize("draw", [philox_draw, torch_draw])
def test_every_purpose_round_client_and_attempt_has_its_own_coins(draw):
    positions = [(), *itertools.product(range(4), repeat=1)]
    positions += [*itertools.product(range(4), repeat=2), *itertools.product(range(4), repeat=3)]
    seen = {draw(0, purpose, *position) for purpose in PURPOSES for position in positions}
    assert len(seen) == len(PURPOSES) * len(positions)


@given(indices, indices)
def test_positions_never_run_into_each_other(left, right):
    """(1, 23) is not (12, 3), and a missing index is not index 0."""
    assert (philox_draw(1, "noise", *left) == philox_draw(1, "noise", *right)) == (left == right)


@given(st.text("ab", min_size=1, max_size=31), st.text("ab", min_size=1, max_size=31), indices, indices)
def test_purposes_never_run_into_indices(purpose, other, left, right):
    both = Streams(keys={purpose: seed_key(0), other: seed_key(0)})
    equal = both.rng(purpose, *left).bytes(16) == both.rng(other, *right).bytes(16)
    assert equal == ((purpose, left) == (other, right))


def test_torch_generators_differ_where_manual_seed_would_not():
    """The trap this guards against, so that its disappearance from torch would be noticed too."""
    one, two = (torch.Generator().manual_seed(seed) for seed in (1, 1 + 2**32))
    assert torch.equal(torch.randn(8, generator=one), torch.randn(8, generator=two))
    one, two = (streams(seed).torch_generator("noise") for seed in (1, 1 + 2**32))
    assert not torch.equal(torch.randn(8, generator=one), torch.randn(8, generator=two))


def test_torch_state_uses_all_of_mt19937():
    """624 words of state, not a 32-bit seed expanded: two streams share no word in place."""
    left, right = (streams(0).torch_state("noise", i).numpy().view(np.uint64)[3 : 3 + 624] for i in (1, 2))
    assert left.max() < 2**32
    assert (left == right).sum() <= 2
    # Sequential words of a manual seed follow Knuth's recurrence; these must not
    recurrence = (1812433253 * (left[:-1] ^ (left[:-1] >> np.uint64(30))) + np.arange(1, 624, dtype=np.uint64)) % 2**32
    assert (recurrence == left[1:]).sum() <= 2


def test_generator_is_mt19937_of_the_injected_words():
    """numpy's MT19937 with the same words draws the same 32-bit integers: the state is read as meant."""
    state = streams(3).torch_state("noise", 9)
    words = state.numpy().view(np.uint64)[3 : 3 + 624].astype(np.uint32)
    reference = np.random.MT19937()
    reference.state = {"bit_generator": "MT19937", "state": {"key": words, "pos": 624}}
    expected = reference.random_raw(4000)[1::2]  # torch joins two words; the second is the low one
    generator = torch.Generator()
    generator.set_state(state)
    drawn = torch.empty(2000, dtype=torch.int64).random_(0, 2**31, generator=generator)
    assert np.array_equal(drawn.numpy(), expected.astype(np.int64) % 2**31)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(100_000,), (10_000, 10), (12_500, 8)])
def test_torch_generator_draws_standard_normals(judge, shape, dtype):
    noise = torch.randn(shape, generator=streams(0).torch_generator("noise", 1), dtype=dtype).numpy()
    assert abs(noise.mean()) < 5 / np.sqrt(noise.size)
    assert judge.has_std(noise, 1.0)
    assert judge.is_gaussian(noise, 1.0)
    assert abs(stats.kurtosis(noise.ravel())) < 5 * np.sqrt(24 / noise.size)


def test_first_draws_of_many_generators_are_standard_normal(judge):
    """Many short streams, as many clients use them: no burn-in is needed after an injected state."""
    source = streams(0)
    first = np.stack([torch.randn(3, generator=source.torch_generator("noise", 1, k)).numpy() for k in range(4000)])
    for draw in first.T:
        assert abs(draw.mean()) < 5 / np.sqrt(len(draw))
        assert judge.has_std(draw, 1.0)
        assert judge.is_gaussian(draw, 1.0)
    assert judge.are_independent(first.T)


def test_streams_of_neighbouring_positions_are_independent(judge):
    source = streams(0)
    position = list(itertools.product(range(3), repeat=3))
    assert judge.are_independent([torch.randn(4000, generator=source.torch_generator("noise", *p)) for p in position])
    assert judge.are_independent([source.rng("noise", *p).normal(size=4000) for p in position])


def test_the_judge_notices_shared_noise(judge):
    """Planted faults: equal, opposite, and one tenth of the variance in common."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 4000))
    assert judge.are_independent([a, b])
    for shared in (a, -a, 0.3 * a + 0.95 * b):
        assert not judge.are_independent([a, shared])


def test_the_judge_notices_wrong_noise(judge):
    noise = np.random.default_rng(0).normal(size=4000)
    assert judge.has_std(noise, 1.0)
    assert judge.is_gaussian(noise, 1.0)
    for factor in (0.9, 1.1, 2 / 3, 3 / 2):
        assert not judge.has_std(noise * factor, 1.0)
    uniform = np.random.default_rng(0).uniform(-np.sqrt(3), np.sqrt(3), size=4000)
    assert not judge.is_gaussian(uniform, 1.0)


@settings(max_examples=20)
@given(st.integers(0, 2**70))
def test_drawing_leaves_the_global_generators_alone(seed):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    torch_draw(seed, "noise", 1)
    philox_draw(seed, "noise", 1)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])


def test_unknown_purpose_is_an_error():
    with pytest.raises(KeyError):
        streams(0).rng("anything else")
