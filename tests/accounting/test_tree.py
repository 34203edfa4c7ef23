"""Trees of noise: sensitivities against enumeration, epsilon against the integral and against dp-accounting's bound."""

import itertools
import math
from collections import Counter

import mpmath
import numpy as np
import pytest
from dp_accounting import NeighboringRelation
from dp_accounting.dp_event import SingleEpochTreeAggregationDpEvent
from dp_accounting.rdp import RdpAccountant
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.accounting.accountants import epsilon, fast_upper_bound, max_epsilon
from fedpriv.accounting.budget import Accounting
from fedpriv.accounting.curve import delta_curve
from fedpriv.accounting.sampled_gaussian import SampledGaussian
from fedpriv.accounting.tree import TreeRound, span, squared_sensitivity
from fedpriv.errors import ConfigError


def full_tree(n):
    """All complete nodes of a binary tree over n rounds, (nodes, n): what is released is some of them."""
    nodes = []
    for width in (2**level for level in range(n.bit_length())):
        nodes += [np.isin(np.arange(n), range(start, start + width)) for start in range(0, n - width + 1, width)]
    return np.array(nodes, dtype=float)


def released_sums(n):
    """The nodes that the binary decomposition of some prefix holds: (n, n)."""
    found = set()
    for t in range(1, n + 1):
        end = t
        while end:
            width = 2 ** next(level for level in itertools.count() if end % 2 ** (level + 1))
            found.add((end - width, end))
            end -= width
    return np.array([np.isin(np.arange(n), range(*node)) for node in sorted(found, key=lambda node: node[1])], float)


def every(n, separation):
    return (np.arange(n) % separation == 0).astype(np.int64)


def rounds(numbers, *, z=1.0, first=1, last=16, attempt=0):
    return Counter(
        TreeRound(noise_multiplier=z, first_round=first, last_round=last, attempt=attempt, round=r) for r in numbers
    )


def mu_of(composition, relation="zero_out"):
    return TreeRound.loss(tuple(composition.items()), relation).mu


@pytest.mark.parametrize(("separation", "golden", "released"), [(16, 2.23607, 5), (4, 6.0, 30)])
def test_golden_sensitivities_of_sixteen_rounds(separation, golden, released):
    """Values of DP-FTRL's libraries for the whole tree; right children but the last are never released."""
    counts = every(16, separation)
    assert np.linalg.norm(full_tree(16) @ counts) == pytest.approx(golden, abs=5e-6)
    assert squared_sensitivity(counts) == released <= golden**2 + 1e-4


@given(st.integers(1, 40))
def test_what_is_released_is_what_prefix_sums_are_made_of(n):
    sums = released_sums(n)
    assert sums.shape == (n, n)
    assert [span(i) for i in range(1, n + 1)] == sums.sum(axis=1).tolist()
    assert {tuple(row) for row in sums} <= {tuple(row) for row in full_tree(n)}


@given(st.lists(st.integers(0, 2), min_size=1, max_size=10), st.integers(0, 2**32 - 1))
def test_no_addends_move_the_released_sums_farther(counts, seed):
    """Over every choice of signs, and random directions: addends of norm 1 all alike are the worst."""
    n = len(counts)
    claimed = squared_sensitivity(np.array(counts))
    sums, present = released_sums(n), np.repeat(np.arange(n), counts)
    assert claimed == pytest.approx(np.square(sums @ np.array(counts, float)).sum())
    for signs in itertools.islice(itertools.product((1, -1), repeat=len(present)), 200):
        assert np.square(sums @ np.bincount(present, weights=signs, minlength=n)).sum() <= claimed + 1e-9
    directions = np.random.default_rng(seed).normal(size=(len(present), 3))
    directions /= np.maximum(1, np.linalg.norm(directions, axis=1, keepdims=True))
    addends = np.zeros((n, 3))
    np.add.at(addends, present, directions)
    assert np.square(sums @ addends).sum() <= claimed + 1e-9


def exact_delta(mu, at):
    mu, at = mpmath.mpf(mu), mpmath.mpf(at)
    return mpmath.ncdf(mu / 2 - at / mu) - mpmath.exp(at) * mpmath.ncdf(-mu / 2 - at / mu)


@pytest.mark.parametrize(("z", "delta"), [(1.0, 1e-5), (7.0, 1e-10), (30.0, 1e-6)])
@pytest.mark.parametrize("relation", ["zero_out", "add_or_remove_one", "replace_one"])
def test_epsilon_is_that_of_one_gaussian_vector(z, delta, relation):
    composition = rounds([1, 5, 9, 13], z=z)
    mu = math.sqrt(30) / z * (2 if relation == "replace_one" else 1)
    found = epsilon(composition, delta=delta, relation=relation, accountant="pld")
    assert float(exact_delta(mu, found.value)) == pytest.approx(delta, rel=1e-5)
    assert found.method.startswith("closed form")
    assert fast_upper_bound(composition, delta=delta, relation=relation) == found.value
    # the losses themselves, integrated: N(mu^2 / 2, mu^2)
    density = lambda x: mpmath.npdf(x, mu**2 / 2, mu)  # noqa: E731
    end = found.value + 40 * mu
    integral = mpmath.quad(
        lambda x: (1 - mpmath.exp(found.value - x)) * density(x), np.linspace(found.value, end, 20).tolist()
    )
    assert float(integral) == pytest.approx(delta, rel=1e-4)


def library_epsilon(z, n, delta):
    accountant = RdpAccountant(neighboring_relation=NeighboringRelation.REPLACE_SPECIAL)
    return accountant.compose(SingleEpochTreeAggregationDpEvent(z, n)).get_epsilon(delta)


@pytest.mark.parametrize(
    ("n", "z", "delta"), [(1000, 7.0, 1e-10), (1600, 8.83, 1e-6), (16, 2.0, 1e-5), (15, 2.0, 1e-5)]
)
def test_one_participation_costs_what_dp_accounting_bounds(n, z, delta):
    """Its Rényi bound for the worst round is ours of round 1, a little above the closed form."""
    library = library_epsilon(z, n, delta)
    if n == 1000:
        assert library == pytest.approx(2.9129, abs=1e-4)
    ours = [epsilon(rounds([r], z=z, last=n), delta=delta, relation="zero_out", accountant="rdp").value for r in (1, n)]
    assert mu_of(rounds([1], last=n)) == pytest.approx(math.sqrt(math.ceil(math.log2(n + 1))))
    assert 0.85 * library < ours[0] <= library
    assert ours[1] <= ours[0]


def test_trees_add_up_as_gaussians_do_and_rounds_of_one_tree_do_not():
    first, second = rounds([1], last=8), rounds([9], first=9)
    assert mu_of(first + second) ** 2 == pytest.approx(mu_of(first) ** 2 + mu_of(second) ** 2)
    together = mu_of(rounds([1, 2])) ** 2
    assert together > mu_of(rounds([1])) ** 2 + mu_of(rounds([2])) ** 2
    again = rounds([1]) + rounds([2], attempt=1)
    assert mu_of(again) ** 2 == pytest.approx(mu_of(rounds([1])) ** 2 + mu_of(rounds([2])) ** 2)


def test_a_tree_of_one_round_is_one_gaussian_release():
    trees = rounds([3], z=1.7, first=3, last=3) + rounds([7], z=1.7, first=7, last=7)
    plain = {SampledGaussian(noise_multiplier=1.7, sampling="all", rate=1.0, population=0, cohort=0): 2}
    for relation in ("zero_out", "replace_one"):
        asked = {"delta": 1e-5, "relation": relation, "accountant": "pld"}
        assert epsilon(trees, **asked).value == pytest.approx(epsilon(plain, **asked).value, rel=1e-12)


def test_a_mistake_would_be_seen_treating_rounds_of_a_tree_as_independent():
    """What a ledger without groups would claim is far below the truth."""
    shared = epsilon(rounds(range(1, 17)), delta=1e-5, relation="zero_out", accountant="pld").value
    apart = sum((rounds([r], first=r, last=r) for r in range(1, 17)), Counter())
    assert epsilon(apart, delta=1e-5, relation="zero_out", accountant="pld").value < shared / 3


def test_the_worst_of_many_is_found_and_the_curve_goes_through_it():
    accounting = Accounting(delta=1e-5, relation="zero_out", accountant="pld")
    released = [rounds(range(1 + turn, 17, 4), z=5.0) for turn in range(4)]
    worst, who = max_epsilon(released, delta=1e-5, relation="zero_out", accountant="pld")
    assert who == 0
    curve = delta_curve(released, accounting=accounting, epsilon=worst.value)
    assert curve.mu == pytest.approx(math.sqrt(30) / 5)
    for at, delta in curve.points:
        assert delta >= float(exact_delta(curve.mu, at)) * (1 - 1e-6)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"round": 17}, "round 17 is none of a tree's 1 to 16"),
        ({"noise_multiplier": -1.0}, "must be at least 0"),
        ({"rate": 0.5}, "accounted without sampling"),
    ],
)
def test_what_is_no_round_of_a_tree_is_refused(numbers, message):
    whole = {"noise_multiplier": 1.0, "first_round": 1, "last_round": 16, "attempt": 0, "round": 1}
    with pytest.raises(ConfigError, match=message):
        TreeRound(**{**whole, **numbers})


def test_a_tree_and_independent_noise_in_one_ledger_are_refused():
    plain = SampledGaussian(noise_multiplier=1.0, sampling="all", rate=1.0, population=0, cohort=0)
    with pytest.raises(ConfigError, match="unlike laws"):
        epsilon({plain: 1, **rounds([1])}, delta=1e-5, relation="zero_out", accountant="pld")


def test_no_noise_is_no_protection():
    assert epsilon(rounds([1], z=0.0), delta=1e-5, relation="zero_out", accountant="pld").value == math.inf
