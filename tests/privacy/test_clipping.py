"""Clipping onto the integer grid: the sensitivity holds in exact arithmetic, for any update whatever."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from fedpriv.errors import ConfigError
from fedpriv.models import ParameterLayout
from fedpriv.privacy import ClippingGrid, clipping

norms = st.one_of(st.sampled_from([1.0, 0.1, 3.0, 2**0.5, 1e-3, 1e4]), st.floats(1e-100, 1e100))
anything = st.one_of(
    st.floats(width=64),
    st.floats(-2, 2),
    st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf, 1e300, -1e300, 5e-324, 1e-160, 1e154, 65504.0]),
)
ordinary = st.one_of(st.floats(-1e6, 1e6), st.floats(-1, 1), st.just(0.0))


def grid(norm, summands=100):
    return ClippingGrid(clipping_norm=norm, summands=summands)


def vector(values):
    return torch.tensor(values, dtype=torch.float64)


def squared_norm(values, step):
    """Exact."""
    return sum(int(v) ** 2 for v in values) * Fraction(step) ** 2


def assert_bounded(clipped, g):
    assert clipped.values.dtype == torch.int64
    assert squared_norm(clipped.values.tolist(), g.step) <= Fraction(g.clipping_norm) ** 2


# -- sensitivity -------------------------------------------------------------------------------------------


@settings(max_examples=400)
@given(norms, st.lists(anything, max_size=30))
@example(1.0, [])
@example(1.0, [1.0])
@example(1.0, [0.6, 0.8])
@example(1e-100, [1e-80] * 5)
@example(1e100, [1e154] * 5)
@example(1.0, [1e300, -1e300])
@example(1.0, [5e-324] * 3)
def test_no_update_exceeds_the_clipping_norm(norm, values):
    g = grid(norm)
    clipped = g.encode(vector(values))
    assert clipped.values.shape == (len(values),)
    assert_bounded(clipped, g)


@settings(max_examples=200)
@given(norms, st.integers(1, 1000), st.integers(0, 2**32), st.floats(-3, 3))
def test_norms_right_at_the_edge_do_not_exceed_it_either(norm, size, seed, log_scale):
    """Where rounding decides: vectors of norm C (1 +- 10^-19 ... 10^-13)."""
    direction = torch.from_numpy(np.random.default_rng(seed).normal(size=size))
    excess = math.copysign(10 ** (-16 + log_scale), log_scale)
    update = direction / torch.linalg.vector_norm(direction) * norm * (1 + excess)
    g = grid(norm)
    assert_bounded(g.encode(update), g)


def test_rounding_of_long_norms_is_allowed_for():
    """A float64 sum of squares loses more the longer it is; 1 + (d - 1) tiny ones lose up to d/2 ulps."""
    size, tiny = 2**22, 7 * 2.0**-30
    update = torch.full((size,), tiny, dtype=torch.float64)
    update[0] = 1.0
    exact = math.sqrt(1 + (size - 1) * tiny**2)
    g = grid(exact)
    lost = 1 - float(torch.linalg.vector_norm(update)) / exact
    assert lost > 2.0**-40, "no rounding here: the test has become pointless"
    values = g.encode(update).values.numpy()
    squared = int(values[0]) ** 2 + int((values[1:] ** 2).sum())
    assert squared * Fraction(g.step) ** 2 <= Fraction(exact) ** 2
    assert clipping._rounding(size) >= lost


def test_planted_fault_a_clip_without_allowance_is_caught(monkeypatch):
    monkeypatch.setattr("fedpriv.privacy.clipping._rounding", lambda size: -1e-6)
    g = grid(1.0)
    with pytest.raises(AssertionError):
        assert_bounded(g.encode(torch.full((50,), 3.0, dtype=torch.float64)), g)


@given(norms, st.lists(st.lists(anything, min_size=4, max_size=4), min_size=1, max_size=8))
def test_one_client_moves_the_sum_by_at_most_the_clipping_norm(norm, updates):
    g = grid(norm)
    encoded = [g.encode(vector(update)).values for update in updates]
    with_everybody = torch.stack(encoded).sum(0)
    for k in range(len(encoded)):
        without = torch.zeros(4, dtype=torch.int64)
        for j, values in enumerate(encoded):
            if j != k:
                without += values
        difference = g.decode(with_everybody).numpy(), g.decode(without).numpy()
        exact = [Fraction(float(a)) - Fraction(float(b)) for a, b in zip(*difference, strict=True)]
        assert sum(x**2 for x in exact) <= Fraction(norm) ** 2


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("position", [0, 2])
def test_a_non_finite_update_counts_as_zero(bad, position):
    values = [0.1, 0.2, 0.3]
    values[position] = bad
    clipped = grid(1.0).encode(vector(values))
    assert clipped.values.tolist() == [0, 0, 0]
    assert clipped.clipped
    assert math.isnan(clipped.norm)


def test_a_norm_beyond_float64_counts_as_zero():
    clipped = grid(1.0).encode(vector([1.7e308] * 10))
    assert clipped.values.tolist() == [0] * 10
    assert clipped.clipped


# -- accuracy ----------------------------------------------------------------------------------------------


@given(norms, st.lists(st.floats(-1, 1), min_size=1, max_size=30))
def test_an_update_below_the_norm_stays_as_it_is_but_for_the_grid(norm, direction):
    g = grid(norm)
    update = vector(direction) * (norm * 0.99 / math.sqrt(len(direction)))
    clipped = g.encode(update)
    assert not clipped.clipped
    loss = update - g.decode(clipped.values)
    assert torch.all(loss.abs() < g.step)
    assert torch.all(loss * update >= 0), "truncation is toward zero"
    assert g.step <= norm * 2.0**-30


@given(norms, st.lists(ordinary, min_size=1, max_size=30), st.floats(1.001, 1e6))
def test_an_update_above_the_norm_is_scaled_to_it(norm, direction, factor):
    length = math.sqrt(sum(x**2 for x in direction))
    if length < 1e-100:
        return
    g = grid(norm)
    update = vector(direction) / length * norm * factor
    clipped = g.encode(update)
    assert clipped.clipped
    assert clipped.norm == pytest.approx(norm * factor, rel=1e-12)
    decoded = g.decode(clipped.values)
    assert torch.allclose(decoded, update / factor, rtol=1e-9, atol=1.01 * g.step)


def test_clipping_says_so_only_where_it_clips():
    assert not grid(5.0).encode(vector([3.0, 3.9])).clipped
    assert grid(5.0).encode(vector([3.0, 4.1])).clipped


# -- sums --------------------------------------------------------------------------------------------------


@given(st.lists(st.lists(ordinary, min_size=3, max_size=3), min_size=1, max_size=20), st.randoms())
def test_sums_are_exact_in_any_order_and_grouping(updates, random):
    g = grid(2.5)
    encoded = [g.encode(vector(update)).values for update in updates]
    total = torch.stack(encoded).sum(0)
    exact = [sum(Fraction(float(x)) for x in column) for column in zip(*map(g.decode, encoded), strict=True)]
    assert [Fraction(float(x)) for x in g.decode(total)] == exact
    random.shuffle(encoded)
    cut = random.randint(0, len(encoded))
    parts = [torch.zeros(3, dtype=torch.int64), torch.zeros(3, dtype=torch.int64)]
    for i, values in enumerate(encoded):
        parts[i < cut] += values
    assert torch.equal(parts[0] + parts[1], total)


def test_the_largest_sum_that_the_grid_allows_is_exact():
    g = grid(1.999999, summands=2**22)
    one = g.encode(vector([100.0])).values
    assert Fraction(float(g.decode(one * 2**22))) == int(one) * 2**22 * Fraction(g.step)
    with pytest.raises(ConfigError, match="smaller cohort"):
        grid(1.0, summands=2**22 + 1)


@pytest.mark.parametrize("norm", [0.0, -1.0, math.nan, math.inf, 1e-200, 1e-310, 1e200])
def test_norms_that_no_arithmetic_can_hold_are_refused(norm):
    with pytest.raises(ConfigError, match="clipping_norm"):
        grid(norm)


# -- models ------------------------------------------------------------------------------------------------


class Odd(nn.Module):
    """0-d, empty and half-precision parameters, an integer buffer, a frozen one."""

    def __init__(self) -> None:
        super().__init__()
        self.p_scalar = nn.Parameter(torch.tensor(1.0))
        self.p_empty = nn.Parameter(torch.zeros(0, 3))
        self.p_half = nn.Parameter(torch.ones(3, dtype=torch.float16))
        self.p_brain = nn.Parameter(torch.ones(2, 2, dtype=torch.bfloat16))
        self.p_double = nn.Parameter(torch.ones(2, dtype=torch.float64))
        self.p_frozen = nn.Parameter(torch.full((2,), 1e30), requires_grad=False)
        self.register_buffer("count", torch.tensor(2**40))


@settings(max_examples=100)
@given(st.lists(anything, min_size=10, max_size=10), st.lists(anything, min_size=10, max_size=10))
def test_the_norm_holds_for_every_kind_of_parameter(start, trained):
    """What a client really sends: trained minus start, parameters of any shape and precision, no buffers."""
    model = Odd()
    layout = ParameterLayout.of(model)
    assert layout.size == 1 + 0 + 3 + 4 + 2
    before, after = vector(start), vector(trained)
    layout.load_into(model, before)
    before = layout.from_module(model)
    layout.load_into(model, after)
    update = layout.from_module(model) - before
    g = grid(0.7)
    assert_bounded(g.encode(update), g)
    assert int(model.count) == 2**40
    assert model.p_frozen.tolist() == [pytest.approx(1e30)] * 2


def test_half_precision_updates_lose_nothing_but_the_grid():
    model = Odd()
    layout = ParameterLayout.of(model)
    update = layout.from_module(model) / 8
    g = grid(10.0)
    assert torch.equal(g.decode(g.encode(update).values), update)
