"""Poisson batches: drawn with the rate, the independence and the number of steps that are accounted."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedpriv.privacy import PoissonBatches


def inclusion(batches, rng, examples, draws):
    per_plan = batches.steps(examples)
    seen = np.zeros((-(-draws // per_plan) * per_plan, examples), dtype=bool)
    steps = (indices for _ in range(len(seen) // per_plan) for indices in batches.plan(lambda: rng, examples))
    for row, indices in zip(seen, steps, strict=True):
        row[indices] = True
    return seen[:draws]


@pytest.mark.parametrize(("batch_size", "examples"), [(32, 100), (1, 50), (99, 100)])
def test_every_example_flips_a_coin_of_its_own_at_every_step(batch_size, examples):
    batches = PoissonBatches(batch_size=batch_size, local_epochs=1)
    seen = inclusion(batches, np.random.default_rng(0), examples, 3000)
    rate = batches.rate(examples)
    assert stats.binomtest(int(seen.sum()), seen.size, rate).pvalue > 1e-6
    assert all(stats.binomtest(int(k), 3000, rate).pvalue > 1e-7 for k in seen.sum(axis=0))
    variance = examples * rate * (1 - rate)
    assert np.var(seen.sum(axis=1)) == pytest.approx(variance, rel=0.15), "neither fixed in size nor bunched"
    standard = (seen - rate) / math.sqrt(rate * (1 - rate))
    assert abs((standard[1:] * standard[:-1]).mean()) < 5 / math.sqrt(standard.size)
    assert abs((standard[:, 1:] * standard[:, :-1]).mean()) < 5 / math.sqrt(standard.size)


@given(st.integers(1, 500), st.integers(1, 2000), st.integers(1, 5))
def test_rate_steps_and_divisor_fit_together(batch_size, examples, epochs):
    batches = PoissonBatches(batch_size=batch_size, local_epochs=epochs)
    assert batches.rate(examples) == min(1.0, batch_size / examples)
    assert batches.steps(examples) == epochs * math.ceil(examples / batch_size)
    assert batches.expected_size(examples) == pytest.approx(min(batch_size, examples))


def test_a_batch_of_at_least_everything_is_everything():
    batches = PoissonBatches(batch_size=10, local_epochs=1)
    [only] = batches.plan(lambda: np.random.default_rng(0), 7)
    assert only.tolist() == list(range(7))


def test_a_client_without_examples_takes_no_step():
    batches = PoissonBatches(batch_size=10, local_epochs=3)
    assert batches.steps(0) == 0
    assert batches.expected_size(0) == 0
    assert list(batches.plan(lambda: np.random.default_rng(0), 0)) == []
    assert 0 <= batches.rate(0) <= 1


def test_a_plan_is_the_same_from_the_same_coins():
    """Sorted, of as many steps as are accounted."""
    batches = PoissonBatches(batch_size=4, local_epochs=3)
    one, other = (list(batches.plan(lambda: np.random.default_rng(7), 18)) for _ in range(2))
    assert len(one) == batches.steps(18) == 15
    for first, second in zip(one, other, strict=True):
        assert first.tolist() == second.tolist() == sorted(first.tolist())
