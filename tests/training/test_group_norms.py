"""Norms by sensitive group: what one example adds, to whom noise belongs, and how often groups are clipped."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fedpriv.models import ParameterLayout
from fedpriv.privacy import PoissonBatches
from fedpriv.streams import Streams, seed_key
from fedpriv.training import ClientWork, DpSgd, ExampleGroups, Formulation, VectorizedTrainer
from fedpriv.training.opacus_trainer import OpacusTrainer
from fedpriv.training.rules import PlainRule

MOST, OWN = 1.0, 0.25
NAMES = {"race": ("a", "b", "c"), "sex": ("Female", "Male")}
BY_SEX = ExampleGroups(names=NAMES, norms={"sex": {1: OWN}})
COINS = Streams(keys=dict.fromkeys(("batches", "noise", "training"), seed_key(0)))


class Products:
    """The loss of an example is its output, so that its gradient is x."""

    def losses(self, outputs, targets):
        return outputs[:, 0]

    def loss_sum(self, outputs, targets):
        return self.losses(outputs, targets).sum()


class Everything(PoissonBatches):
    def plan(self, coins, num_examples):
        yield np.arange(num_examples)


@pytest.fixture(params=["vectorized", "opacus"], scope="module")
def engine(request):
    return request.param


def trainer(engine, groups, *, dims=3):
    model = nn.Linear(dims, 1, bias=False)
    layout = ParameterLayout.of(model)
    batches = Everything(batch_size=1, local_epochs=1)
    shared = {
        "model": model,
        "layout": layout,
        "task": Products(),
        "make_optimizer": partial(torch.optim.SGD, lr=1.0),
        "batches": batches,
        "proximal_mu": 0.0,
        "rule": PlainRule(),
        "device": torch.device("cpu"),
    }
    if engine == "opacus":
        return OpacusTrainer(max_grad_norm=MOST, layer_norms={}, groups=groups, **shared)
    return VectorizedTrainer(
        formulation=Formulation(whole=False, side_by_side=True, methods={}, wide=()),
        stack_size=4,
        unfolded=True,
        channels_last=False,
        private=DpSgd(max_grad_norm=MOST, layer_norms={}, expected_size=batches.expected_size, groups=groups),
        **shared,
    )


def sums(engine, groups, *clients, noise_multiplier=0.0, dims=3):
    """Each client's noisy sum of clipped gradients, and its metrics; a client is (x, groups of its examples)."""
    work = [
        ClientWork(
            client_id=k,
            examples=partial(lambda x: (x, torch.zeros(len(x))), torch.as_tensor(x, dtype=torch.float32)),
            state={},
            broadcast={},
            noise_multiplier=noise_multiplier,
            batches=partial(COINS.rng, "batches", k),
            noise=partial(COINS.torch_generator, "noise", k),
            torch_state=partial(COINS.torch_state, "training", k),
            groups=partial(torch.as_tensor, np.asarray(codes, np.int64).reshape(-1, 2)),
        )
        for k, (x, codes) in enumerate(clients)
    ]
    made = trainer(engine, groups, dims=dims)
    results = sorted(made.train(torch.zeros(dims, dtype=torch.float64), work), key=lambda result: result.client_id)
    assert [result.failure for result in results] == [None] * len(results)
    return [-result.update.numpy() for result in results], [dict(result.metrics) for result in results]


def test_each_group_is_clipped_to_its_own_norm_and_others_to_the_largest(engine):
    far = np.eye(3) * 100
    [total], [told] = sums(engine, BY_SEX, (far, [[0, 0], [1, 1], [2, 0]]))
    assert total == pytest.approx([MOST, OWN, MOST], rel=1e-5)
    assert [told[f"clipped_examples_sex_{name}"] for name in NAMES["sex"]] == [1.0, 1.0]


def test_what_is_within_its_groups_norm_is_left_as_it_is(engine):
    near = np.diag([0.9, 0.2, 0.3])
    [total], [told] = sums(engine, BY_SEX, (near, [[0, 0], [0, 1], [2, 1]]))
    assert total == pytest.approx([0.9, 0.2, OWN], rel=1e-5)
    shares = {name: value for name, value in told.items() if name.startswith(("clipped_", "examples_"))}
    assert shares == pytest.approx(
        {
            **{"clipped_examples": 1 / 3, "examples_race_a": 2, "examples_race_b": 0, "examples_race_c": 1},
            **{"clipped_examples_race_a": 0, "clipped_examples_race_b": np.nan, "clipped_examples_race_c": 1},
            **{"examples_sex_Female": 1, "examples_sex_Male": 2},
            **{"clipped_examples_sex_Female": 0, "clipped_examples_sex_Male": 0.5},
        },
        nan_ok=True,
    )


def test_clients_of_a_stack_keep_their_groups(engine):
    clients = [(np.eye(3)[[k] * (k + 1)] * 9, [[k, k % 2]] * (k + 1)) for k in range(3)]
    totals, told = sums(engine, BY_SEX, *clients)
    for k, total in enumerate(totals):
        assert total == pytest.approx(np.eye(3)[k] * (k + 1) * (OWN if k % 2 else MOST), rel=1e-5)
        assert told[k][f"examples_race_{NAMES['race'][k]}"] == k + 1


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_one_example_of_whatever_group_moves_the_sum_by_the_sensitivity_at_most(engine, data):
    vectors = st.lists(st.floats(-50, 50, width=32), min_size=3, max_size=3)
    rows = data.draw(st.lists(vectors, min_size=2, max_size=5))
    codes = [[data.draw(st.integers(0, 2)), data.draw(st.integers(0, 1))] for _ in rows]
    norms = {"race": {0: 0.5, 2: 7.0}, "sex": {1: OWN}}  # 7 > MOST: a norm can never raise the bound
    groups = ExampleGroups(names=NAMES, norms=norms)
    [with_it, without], _ = sums(engine, groups, (rows, codes), (rows[1:], codes[1:]))
    assert np.linalg.norm(with_it - without) <= MOST * (1 + 1e-5)
    own = min(MOST, norms["race"].get(codes[0][0], MOST), norms["sex"].get(codes[0][1], MOST))
    assert np.linalg.norm(with_it - without) <= own * (1 + 1e-5) + 1e-5


def test_noise_is_made_for_the_largest_norm(engine, judge):
    everybody_small = (np.ones((4, 4096)), [[0, 1]] * 4)
    [noisy], _ = sums(engine, BY_SEX, everybody_small, noise_multiplier=2.0, dims=4096)
    [plain], _ = sums(engine, BY_SEX, everybody_small, dims=4096)
    assert judge.has_std(noisy - plain, 2.0 * MOST)
    assert not judge.has_std(noisy - plain, 2.0 * OWN)


def test_groups_without_norms_are_watched_and_change_no_bit(engine):
    x, codes = np.random.default_rng(0).normal(size=(9, 3)) * 2, np.zeros((9, 2), int)
    watched, _ = sums(engine, ExampleGroups(names=NAMES, norms={}), (x, codes), noise_multiplier=1.0)
    alone, told = sums(engine, None, (x, codes), noise_multiplier=1.0)
    assert np.array_equal(watched, alone)
    assert not any("sex" in name for name in told[0])
