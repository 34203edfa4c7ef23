"""The rules of the tuning: how work is cut, by settings alone."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from fedpriv.models import cnn, lenet, logistic
from fedpriv.training import ELEMENTWISE, Formulation, Wishes, choose_tuning, find_formulation

FREE = Wishes(engine=None, chunk_size=None, stack_size=None, convolutions=None, memory_format=None)
SIDE_BY_SIDE = Formulation(whole=False, side_by_side=True, methods={}, wide=())

# make, input shape, example level, batch, cohort: the workloads of docs/speed.md
WORKLOADS = {
    "W1": (partial(cnn, input_shape=(3, 32, 32), num_outputs=10), (3, 32, 32), False, 10, 50),
    "W2": (partial(lenet, input_shape=(1, 28, 28), num_outputs=10), (1, 28, 28), True, 20, 20),
    "W3": (partial(logistic, input_shape=(64,), num_outputs=10), (64,), False, 20, 1000),
}


def tuned(make, shape, example_level, batch_size, cohort, *, wishes=FREE, formulation=SIDE_BY_SIDE, per_node=None):
    torch.manual_seed(0)
    return choose_tuning(
        wishes,
        model=make(),
        sample=torch.zeros(1, *shape),
        formulation=formulation,
        example_level=example_level,
        batch_size=batch_size,
        expected_cohort=cohort,
        clients_per_node=per_node,
        threads=1,
        device=torch.device("cpu"),
    )


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_rules_are_deterministic_and_bounded(name):
    make, shape, example_level, _, cohort = WORKLOADS[name]
    formulation = find_formulation(make(), torch.zeros(1, *shape), None, by_example=example_level)
    first, second = (tuned(*WORKLOADS[name], formulation=formulation) for _ in range(2))
    assert first == second
    assert first.engine == "vectorized"
    assert 1 <= first.stack_size <= first.chunk_size <= cohort / 2, "two workers have something to do"
    parameters = sum(p.numel() for p in make().parameters())
    assert first.stack_size * parameters <= 2**24


def test_small_models_train_many_clients_side_by_side():
    stacks = {name: tuned(*workload).stack_size for name, workload in WORKLOADS.items()}
    assert stacks["W1"] <= 2
    assert stacks["W3"] >= 50


def test_patches_are_for_small_images():
    assert tuned(*WORKLOADS["W2"]).convolutions == "patches"
    assert tuned(*WORKLOADS["W1"]).convolutions == "native"
    assert tuned(*WORKLOADS["W1"]).memory_format == "channels_last"
    assert (tuned(*WORKLOADS["W3"]).convolutions, tuned(*WORKLOADS["W3"]).memory_format) == (None, None)


@pytest.mark.parametrize(
    ("formulation", "example_level", "engine"),
    [
        (None, True, "opacus"),
        (None, False, "sgd"),
        (Formulation(whole=True, side_by_side=False, methods={}, wide=()), True, "vectorized"),
        (Formulation(whole=True, side_by_side=False, methods={}, wide=()), False, "sgd"),
    ],
)
def test_the_engine_is_the_first_that_can(formulation, example_level, engine):
    _, shape, _, batch_size, cohort = WORKLOADS["W3"]
    assert tuned(WORKLOADS["W3"][0], shape, example_level, batch_size, cohort, formulation=formulation).engine == engine


def test_what_a_config_wishes_is_what_happens():
    wishes = Wishes(
        engine="vectorized", chunk_size=7, stack_size=5, convolutions="native", memory_format="contiguous"
    )
    found = tuned(*WORKLOADS["W2"], wishes=wishes)
    assert (found.engine, found.chunk_size, found.stack_size) == ("vectorized", 7, 5)
    assert (found.convolutions, found.memory_format) == ("native", "contiguous")


def test_what_cannot_matter_makes_no_other_run():
    wishes = [
        Wishes(engine="opacus", chunk_size=7, stack_size=stack_size, convolutions=kind, memory_format=None)
        for stack_size, kind in ((5, "native"), (None, "patches"))
    ]
    assert len({tuned(*WORKLOADS["W2"], wishes=wish) for wish in wishes}) == 1


@pytest.mark.parametrize("per_node", [1, 3])
def test_a_chunk_is_never_larger_than_a_node(per_node):
    found = tuned(*WORKLOADS["W3"], per_node=per_node)
    assert found.chunk_size == per_node
    assert found.stack_size <= per_node


@pytest.mark.parametrize("kind", ELEMENTWISE)
def test_an_elementwise_optimizer_steps_on_rows_as_on_each(kind):
    """The condition for stepping on all clients' parameters at once."""
    coins = torch.Generator().manual_seed(0)
    start, gradients = torch.randn(3, 5, generator=coins), torch.randn(4, 3, 5, generator=coins)
    together = nn.Parameter(start.clone())
    apart = [nn.Parameter(row.clone()) for row in start]
    optimizers = [kind([together], lr=0.1), *(kind([p], lr=0.1) for p in apart)]
    for gradient in gradients:
        together.grad = gradient.clone()
        for p, row in zip(apart, gradient, strict=True):
            p.grad = row.clone()
        for optimizer in optimizers:
            optimizer.step()
    assert torch.allclose(together, torch.stack([p.detach() for p in apart]), atol=1e-6)
    assert not math.isclose(float((together - start).norm()), 0.0)
