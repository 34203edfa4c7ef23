"""An auditor's places in local steps: what they take away and add, in every engine, and that nothing else changes."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fedpriv.models import ParameterLayout
from fedpriv.privacy import PoissonBatches
from fedpriv.training import (
    Classification,
    ClientWork,
    DpSgd,
    Formulation,
    Planted,
    SgdTrainer,
    ShuffledBatches,
    SparseGradient,
    VectorizedTrainer,
)
from fedpriv.training.opacus_trainer import OpacusTrainer
from fedpriv.training.rules import PlainRule

CPU = torch.device("cpu")
SIZE, LR, NORM = 12, 0.5, 1.0
POISSON = PoissonBatches(batch_size=4, local_epochs=2)
ENGINES = ("opacus", "vectorized", "sgd", "vectorized sgd")
PRIVATE = ENGINES[:2]


def trained(engine, new_streams, *, planted=None, noise=1.0, clients=2):
    """Updates of clients with the same data; client 0 is audited."""
    torch.manual_seed(3)
    model, streams = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)), new_streams(0)
    rng = np.random.default_rng(1)
    x = torch.from_numpy(rng.normal(size=(SIZE, 6)).astype(np.float32))
    y = torch.from_numpy(rng.integers(0, 3, SIZE))
    layout = ParameterLayout.of(model)
    shared = {"model": model, "layout": layout, "task": Classification(num_classes=3), "proximal_mu": 0.0,
              "make_optimizer": partial(torch.optim.SGD, lr=LR), "rule": PlainRule(), "device": CPU}  # fmt: skip
    plain = ShuffledBatches(batch_size=4, local_epochs=2)
    if engine == "sgd":
        trainer = SgdTrainer(batches=plain, **shared)
    elif engine == "opacus":
        trainer = OpacusTrainer(batches=POISSON, max_grad_norm=NORM, layer_norms={}, **shared)
    else:
        private = DpSgd(max_grad_norm=NORM, layer_norms={}, expected_size=POISSON.expected_size)
        trainer = VectorizedTrainer(
            formulation=Formulation(whole=False, side_by_side=True, methods={}, wide=()), stack_size=clients,
            unfolded=True, channels_last=False, private=private if engine == "vectorized" else None,
            batches=POISSON if engine == "vectorized" else plain, **shared,
        )  # fmt: skip
    work = [
        ClientWork(
            client_id=k, examples=lambda: (x.clone(), y.clone()), state={}, broadcast={}, noise_multiplier=noise,
            batches=partial(streams.rng, "batches", k), noise=partial(streams.torch_generator, "noise", k),
            torch_state=partial(streams.torch_state, "training", k), planted=planted if k == 0 else None,
        )
        for k in range(clients)
    ]  # fmt: skip
    found = {result.client_id: result for result in trainer.train(layout.from_module(model), work)}
    assert all(result.failure is None for result in found.values())
    return found, streams


def silent(*indices):
    return Planted(silent=np.array(indices, dtype=np.int64), gradients={})


@pytest.mark.parametrize("engine", ENGINES)
def test_places_that_are_empty_change_no_bit(engine, new_streams):
    plain, _ = trained(engine, new_streams)
    audited, _ = trained(engine, new_streams, planted=silent())
    assert all(torch.equal(plain[k].update, audited[k].update) for k in plain)


@pytest.mark.parametrize("engine", ENGINES)
def test_silent_examples_are_not_trained_on_and_others_stay_as_they_are(engine, new_streams):
    plain, _ = trained(engine, new_streams)
    audited, _ = trained(engine, new_streams, planted=silent(*range(6)))
    assert torch.equal(plain[1].update, audited[1].update)
    assert float((plain[0].update - audited[0].update).norm()) > 0.01
    assert audited[0].metrics["steps"] == plain[0].metrics["steps"] or engine == "sgd"
    assert audited[0].metrics["examples"] < plain[0].metrics["examples"]


@pytest.mark.parametrize("engine", PRIVATE)
def test_with_every_example_silent_the_noise_alone_is_left_with_its_divisor(engine, new_streams):
    audited, streams = trained(engine, new_streams, planted=silent(*range(SIZE)), clients=1)
    quiet, _ = trained(engine, new_streams, planted=silent(*range(SIZE)), noise=0.0, clients=1)
    assert float(quiet[0].update.norm()) == 0
    noise = streams.torch_generator("noise", 0)
    drawn = sum(torch.empty(53).normal_(0, NORM, generator=noise) for _ in range(POISSON.steps(SIZE)))
    spread = float(audited[0].update.norm() / (LR * drawn.norm() / POISSON.expected_size(SIZE)))
    assert spread == pytest.approx(1, rel=1e-4) if engine == "vectorized" else 0.5 < spread < 2


@pytest.mark.parametrize("engine", PRIVATE)
def test_a_planted_gradient_counts_as_often_as_its_place_is_drawn(engine, new_streams):
    vector = SparseGradient(coordinates=np.array([0, 7, 40, 52]), values=np.float32([0.5, -0.5, 0.5, 0.5]))
    everybody = np.arange(SIZE)
    planted = Planted(silent=everybody, gradients={4: vector})
    found, streams = trained(engine, new_streams, planted=planted, noise=0.0)
    draws = sum(4 in batch for batch in POISSON.plan(partial(streams.rng, "batches", 0), SIZE))
    assert 0 < draws < POISSON.steps(SIZE)
    expected = torch.zeros(53, dtype=torch.float64)
    expected[vector.coordinates] = -LR * draws / POISSON.expected_size(SIZE) * torch.from_numpy(vector.values).double()
    assert torch.allclose(found[0].update.double(), expected, atol=1e-6)


@given(st.lists(st.integers(0, 30), unique=True), st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
def test_what_is_heard_and_what_is_added_follow_the_batch(batch, taken, adding):
    batch = np.array(batch, dtype=np.int64)
    one = SparseGradient(coordinates=np.array([1]), values=np.float32([1.0]))
    planted = Planted(silent=np.array(sorted(taken), dtype=np.int64), gradients=dict.fromkeys(adding, one))
    assert planted.heard(batch).tolist() == [i for i in batch.tolist() if i not in taken]
    (added,) = planted.added(iter([batch]), size=3)
    count = len(adding & set(batch.tolist()))
    assert (added is None) == (count == 0)
    assert added is None or added.tolist() == [0, count, 0]
