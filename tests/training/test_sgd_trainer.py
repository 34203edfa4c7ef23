"""Plain local training: what a hand-written loop does, and failures that stay with their client."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from fedpriv.models import ParameterLayout
from fedpriv.training import Classification, ClientWork, SgdTrainer, ShuffledBatches
from fedpriv.training.rules import PlainRule

CPU = torch.device("cpu")


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))


def examples(n, seed=0):
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(seed))
    return x, torch.arange(n) % 3


@pytest.fixture
def bench(new_streams):
    streams = new_streams(0)

    def train(sources, *, proximal_mu=0.0, batch_size=4, local_epochs=2, optimizer=None):
        module = model()
        layout = ParameterLayout.of(module)
        trainer = SgdTrainer(
            model=module,
            layout=layout,
            task=Classification(num_classes=3),
            make_optimizer=optimizer or partial(torch.optim.SGD, lr=0.1, momentum=0.9),
            batches=ShuffledBatches(batch_size=batch_size, local_epochs=local_epochs),
            proximal_mu=proximal_mu,
            rule=PlainRule(),
            device=CPU,
        )
        work = [
            ClientWork(
                client_id=k,
                examples=source,
                state={},
                broadcast={},
                noise_multiplier=math.nan,
                batches=partial(streams.rng, "batches", 1, k),
                noise=partial(streams.torch_generator, "noise", 1, k),
                torch_state=partial(streams.torch_state, "training", 1, k),
            )
            for k, source in enumerate(sources)
        ]
        return list(trainer.train(layout.from_module(module), work))

    train.streams = streams
    return train


@pytest.mark.parametrize("mu", [0.0, 0.3])
def test_it_does_what_a_hand_written_loop_does(bench, mu):
    x, y = examples(10)
    [result] = bench([lambda: (x, y)], proximal_mu=mu)
    reference = model()
    start = [p.detach().clone() for p in reference.parameters()]
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.1, momentum=0.9)
    coins = bench.streams.rng("batches", 1, 0)
    for _ in range(2):
        order = torch.from_numpy(coins.permutation(10))
        for batch in order.split(4):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(reference(x[batch]), y[batch])
            for p, p0 in zip(reference.parameters(), start, strict=True):
                loss = loss + mu / 2 * ((p - p0) ** 2).sum()
            loss.backward()
            optimizer.step()
    moved = torch.cat([(p.detach() - p0).reshape(-1) for p, p0 in zip(reference.parameters(), start, strict=True)])
    assert torch.allclose(result.update, moved.double(), atol=1e-6)
    assert result.metrics["examples"] == 20
    assert moved.norm() > 0.1


def test_a_client_that_raises_fails_alone(bench):
    def broken():
        raise OSError("disk gone")

    sources = [partial(examples, 10, seed) for seed in range(3)]
    honest = bench(sources)
    disturbed = bench([sources[0], broken, sources[2]])
    assert disturbed[1].update is None
    assert disturbed[1].failure == "OSError: disk gone"
    for k in (0, 2):
        assert torch.equal(honest[k].update, disturbed[k].update)


def test_a_client_without_examples_sends_a_finite_zero_update(bench):
    [result] = bench([partial(examples, 0)])
    assert result.failure is None
    assert not result.update.any()


def test_equal_work_gives_equal_bits_whoever_came_before(bench):
    """No momentum, no parameter and no coin outlives its client."""
    first, second, third = (partial(examples, 10, seed) for seed in range(3))
    assert torch.equal(bench([first, second])[1].update, bench([third, second])[1].update)


def test_global_generators_are_left_alone(bench, monkeypatch):
    ready = model()
    monkeypatch.setitem(globals(), "model", lambda: ready)  # building it draws from torch's generator
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    bench([partial(examples, 10)])
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
