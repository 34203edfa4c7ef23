"""Noise of clients side by side: each has its own, of its own size, and none when its steps are over."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from fedpriv.models import ParameterLayout
from fedpriv.privacy import PoissonBatches
from fedpriv.training import ClientWork, DpSgd, Formulation, VectorizedTrainer
from fedpriv.training.rules import PlainRule
from fedpriv.training.vectorized import trainer as vectorized

WIDE = 20_000
NORM = 0.5
MULTIPLIERS = (0.3, 1.0, 4.0, 0.0)
SIZES = (4, 8, 12, 8)  # 1, 2, 3 and 2 steps


def all_in_one(clients, *, most):
    """However ragged."""
    return [sorted(clients, key=lambda client: len(client.plan))]


class SumOfOutputs:
    def losses(self, outputs, targets):
        return outputs.sum(dim=1)


class Seen(torch.optim.SGD):
    """Keeps every gradient that it was given, (K, D)."""

    steps: list

    def step(self, closure=None):
        self.steps.append(self.param_groups[0]["params"][0].grad.double().numpy().copy())
        return super().step(closure)


@pytest.fixture
def train(new_streams, monkeypatch):
    monkeypatch.setattr(vectorized, "stacks", all_in_one)
    streams, batches = new_streams(0), PoissonBatches(batch_size=4, local_epochs=1)

    def gradients(multipliers, *, round_number=1, sizes=SIZES):
        """Of each step, of each client in the stack, times the expected batch: (steps, K, D), sorted by steps."""
        model = nn.Linear(WIDE, 1, bias=False)
        nn.init.zeros_(model.weight)
        Seen.steps = []
        layout = ParameterLayout.of(model)
        trainer = VectorizedTrainer(
            model=model,
            layout=layout,
            task=SumOfOutputs(),
            formulation=Formulation(whole=False, side_by_side=True, methods={}, wide=()),
            stack_size=len(sizes),
            unfolded=True,
            channels_last=False,
            make_optimizer=partial(Seen, lr=0.1),
            batches=batches,
            private=DpSgd(max_grad_norm=NORM, layer_norms={}, expected_size=batches.expected_size),
            proximal_mu=0.0,
            rule=PlainRule(),
            device=torch.device("cpu"),
        )
        examples = torch.randn(max(sizes), WIDE, generator=torch.Generator().manual_seed(0))
        work = [
            ClientWork(
                client_id=k,
                examples=lambda n=n: (examples[:n], torch.zeros(n)),
                state={},
                broadcast={},
                noise_multiplier=multiplier,
                batches=partial(streams.rng, "batches", round_number, k),
                noise=partial(streams.torch_generator, "noise", round_number, k),
                torch_state=partial(streams.torch_state, "training", round_number, k),
            )
            for k, (multiplier, n) in enumerate(zip(multipliers, sizes, strict=True))
        ]
        results = {result.client_id: result for result in trainer.train(layout.from_module(model), work)}
        assert all(result.failure is None for result in results.values())
        return np.stack(Seen.steps) * 4, results

    def noise(multipliers, **position):
        noisy, results = gradients(multipliers, **position)
        clean, _ = gradients([0.0] * len(multipliers), **position)
        return noisy - clean, results

    return noise


# the stack is ordered by steps: clients 0, 1, 3, 2
ORDER = (0, 1, 3, 2)
STEPS = (1, 2, 2, 3)


def test_every_clients_noise_has_its_own_size(train, judge):
    noise, _ = train(MULTIPLIERS)
    assert noise.shape == (3, len(SIZES), WIDE)
    for row, (client, steps) in enumerate(zip(ORDER, STEPS, strict=True)):
        std = MULTIPLIERS[client] * NORM
        for step in range(steps):
            if std == 0:
                assert not noise[step, row].any()
                continue
            assert judge.has_std(noise[step, row], std)
            assert judge.is_gaussian(noise[step, row], std)
            for wrong in (2 / 3, 0.95, 1.05, 3 / 2):
                assert not judge.has_std(noise[step, row], wrong * std)


def test_a_client_whose_steps_are_over_gets_none(train):
    noise, _ = train(MULTIPLIERS)
    for row, steps in enumerate(STEPS):
        assert not noise[steps:, row].any()


def test_noise_is_independent_between_clients_steps_and_rounds(train, judge):
    vectors = []
    for round_number in (1, 2):
        noise, _ = train((1.0,) * 4, round_number=round_number)
        vectors += [noise[step, row] for row, steps in enumerate(STEPS) for step in range(steps)]
    assert len(vectors) == 16
    assert judge.are_independent(vectors)


def test_planted_fault_one_generator_for_the_stack_is_caught(train, judge, monkeypatch):
    class Shared(vectorized.StackNoise):
        def add(self, gradient, *, step):
            gradient += self._drawn.normal_(0.0, self._stds[0], generator=self._generators[0])
            gradient /= self._divisors

    monkeypatch.setattr(vectorized, "StackNoise", Shared)
    noise, _ = train((1.0,) * 4)
    assert not judge.are_independent(noise[0])


def test_a_clients_noise_does_not_depend_on_who_is_beside_it(train):
    """The same generator, step by step, as if the client were alone."""
    together, _ = train((1.0,) * 4)
    alone, _ = train((1.0,), sizes=SIZES[:1])
    assert np.allclose(together[0, 0], alone[0, 0], atol=1e-5)


def test_the_divisor_is_each_clients_expected_batch(train):
    """Three examples are all in every batch; four of twelve are expected: noise is divided by 3 and by 4."""
    noise, results = train((1.0, 1.0), sizes=(3, 12))
    for row, (client, expected, steps) in enumerate(((0, 3, 1), (1, 4, 3))):
        assert results[client].metrics["steps"] == steps
        per_step = noise[:steps, row] / 4 * expected  # on the sum
        assert np.std(per_step) == pytest.approx(NORM, rel=0.02)
