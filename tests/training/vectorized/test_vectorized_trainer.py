"""Clients side by side come back with what they come back with one after another, by the engines that do that."""

import math
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from fedpriv.models import ParameterLayout, lenet, transformer
from fedpriv.privacy import PoissonBatches
from fedpriv.training import (
    Classification,
    ClientWork,
    DpSgd,
    Formulation,
    SgdTrainer,
    ShuffledBatches,
    VectorizedTrainer,
)
from fedpriv.training.opacus_trainer import OpacusTrainer
from fedpriv.training.rules import FedNovaRule, PersonalLayersRule, PlainRule, ScaffoldRule
from fedpriv.training.vectorized import trainer as vectorized

CPU = torch.device("cpu")
LR, NORM = 0.1, 0.5
RAGGED = (7, 0, 1, 12, 5, 12, 3, 9)  # examples of each client
SHUFFLED = ShuffledBatches(batch_size=4, local_epochs=2)
POISSON = PoissonBatches(batch_size=4, local_epochs=2)
PAIRS = [("sgd", None), ("opacus", DpSgd(max_grad_norm=NORM, layer_norms={}, expected_size=POISSON.expected_size))]


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))


def examples(client, sizes=RAGGED, shape=(6,)):
    x = torch.randn(sizes[client], *shape, generator=torch.Generator().manual_seed(client))
    return x, torch.arange(sizes[client]) % 3


def in_given_order(clients, *, most):
    return [clients[first : first + most] for first in range(0, len(clients), most)]


class Federation:
    """The same clients for any engine, with the same coins.

    Args:
        sources: client -> its examples, where they are others than ``examples``.
        noise_multipliers: by client.
    """

    def __init__(
        self, streams, *, make=mlp, shape=(6,), sources=None, noise_multipliers=None, without=(), poisson=POISSON
    ):
        self.poisson = poisson
        self.streams, self.make, self.shape = streams, make, shape
        self.sources, self.noise_multipliers, self.without = sources or {}, noise_multipliers or {}, without

    def results(self, trainer, start, *, rounds=2, states=None, broadcast=None):
        """Each round's results by client; states go on, and so does the mean update, as in a federation."""
        states, found = dict(states or {}), []
        for round_number in range(1, rounds + 1):
            work = [self._work(k, round_number, states.get(k, {}), broadcast or {}) for k in range(len(RAGGED))]
            results = {result.client_id: result for result in trainer.train(start, work)}
            assert len(results) == len(RAGGED)
            found.append(results)
            states = {k: result.state for k, result in results.items()}
            start = start + torch.stack([r.update for r in results.values() if r.failure is None]).mean(dim=0)
            start = start.float().double()
        return found

    def _work(self, client, round_number, state, broadcast):
        return ClientWork(
            client_id=client,
            examples=self.sources.get(client, partial(examples, client, shape=self.shape)),
            state=state,
            broadcast=broadcast,
            noise_multiplier=self.noise_multipliers.get(client, 0.0),
            batches=partial(self.streams.rng, "batches", round_number, client),
            noise=partial(self.streams.torch_generator, "noise", round_number, client),
            torch_state=partial(self.streams.torch_state, "training", round_number, client),
        )

    def trainer(self, engine, *, private=None, stack_size=3, rule=None, mu=0.0, optimizer=None, wide=(), **changed):
        model = self.make()
        layout = ParameterLayout.of(model, without=self.without)
        shared = {
            "model": model,
            "layout": layout,
            "task": Classification(num_classes=3),
            "make_optimizer": optimizer or partial(torch.optim.SGD, lr=LR),
            "proximal_mu": mu,
            "rule": rule or PlainRule(),
            "device": CPU,
        }
        start = layout.from_module(model)
        if engine == "sgd":
            return SgdTrainer(batches=SHUFFLED, **shared), start
        if engine == "opacus":
            return OpacusTrainer(batches=self.poisson, max_grad_norm=NORM, layer_norms={}, **shared), start
        settings = {"unfolded": True, "channels_last": True, **changed}
        formulation = Formulation(whole=False, side_by_side=True, methods={}, wide=wide)
        batches = SHUFFLED if private is None else self.poisson
        return VectorizedTrainer(
            formulation=formulation, stack_size=stack_size, batches=batches, private=private, **settings, **shared
        ), start


def same(one, other):
    """Round by round and client by client, up to what float32 rounds, relative to the longest update."""
    for before, after in zip(one, other, strict=True):
        longest = max(float(result.update.norm()) for result in before.values() if result.failure is None)
        assert longest > 0.01
        for k, expected in before.items():
            found = after[k]
            assert (found.failure is None) == (expected.failure is None)
            if expected.failure is None:
                assert float((found.update - expected.update).norm()) <= 1e-4 * longest
                assert found.state.keys() == expected.state.keys()
                for name, value in expected.state.items():
                    assert torch.allclose(found.state[name], value, rtol=1e-3, atol=1e-3)
                assert found.metrics["steps"] == expected.metrics["steps"]
                assert found.metrics["examples"] == expected.metrics["examples"]
                if expected.metrics["examples"]:
                    assert found.metrics["loss"] == pytest.approx(expected.metrics["loss"], rel=1e-4)


@pytest.fixture
def federation(new_streams, monkeypatch):
    """Whose stacks are as ragged as can be."""
    monkeypatch.setattr(vectorized, "stacks", in_given_order)
    return partial(Federation, new_streams(0))


OPTIMIZERS = {
    "sgd": partial(torch.optim.SGD, lr=LR),
    "momentum": partial(torch.optim.SGD, lr=LR, momentum=0.9, nesterov=True),
    "weight decay": partial(torch.optim.SGD, lr=LR, weight_decay=0.1),
    "adam": partial(torch.optim.Adam, lr=0.01, eps=1e-3),  # with a small eps, rounding decides the sign of tiny steps
    "adamw": partial(torch.optim.AdamW, lr=0.01, eps=1e-3),
}


@pytest.mark.parametrize(("engine", "private"), PAIRS, ids=["plain", "private"])
@pytest.mark.parametrize("stack_size", [1, 3, 8])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_updates_are_those_of_the_other_engine(federation, engine, private, stack_size, optimizer):
    """Ragged clients, one without examples; two rounds; no noise."""
    alike = {"optimizer": OPTIMIZERS[optimizer]}
    clients = federation()
    expected = clients.results(*clients.trainer(engine, **alike))
    found = clients.results(*clients.trainer("vectorized", private=private, stack_size=stack_size, **alike))
    same(expected, found)


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "private"), PAIRS, ids=["plain", "private"])
@pytest.mark.parametrize("mu", [0.0, 0.5])
@pytest.mark.parametrize("rule", [PlainRule(), FedNovaRule(), ScaffoldRule(lr=LR)])
def test_rules_and_fedprox_are_those_of_the_other_engine(federation, engine, private, mu, rule):
    clients, size = federation(), ParameterLayout.of(mlp()).size
    controls = 0.1 * torch.randn(len(RAGGED) + 1, size, generator=torch.Generator().manual_seed(3))
    given = {}
    if isinstance(rule, ScaffoldRule):
        given["states"] = {k: {"control": controls[k]} for k in range(len(RAGGED) - 2)}  # the others are new
        given["broadcast"] = {"control": controls[-1]}
    expected = clients.results(*clients.trainer(engine, rule=rule, mu=mu), **given)
    same(expected, clients.results(*clients.trainer("vectorized", private=private, rule=rule, mu=mu), **given))


@pytest.mark.parametrize(("engine", "private"), PAIRS, ids=["plain", "private"])
def test_personal_layers_are_those_of_the_other_engine(federation, engine, private):
    module = mlp()
    head = ParameterLayout.of(module, without=("0.*",))
    rule = PersonalLayersRule(layout=head, initial=head.from_module(module))
    clients = federation(without=("2.*",))
    expected = clients.results(*clients.trainer(engine, rule=rule))
    found = clients.results(*clients.trainer("vectorized", private=private, rule=rule))
    same(expected, found)
    heads = torch.stack([result.state["personal"] for result in found[-1].values()])
    assert len(torch.unique(heads, dim=0)) > len(RAGGED) / 2, "each has its own"


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "private"), PAIRS, ids=["plain", "private"])
@pytest.mark.parametrize("unfolded", [True, False])
@pytest.mark.parametrize("channels_last", [True, False])
def test_images_are_those_of_the_other_engine(federation, engine, private, unfolded, channels_last):
    def make():
        torch.manual_seed(0)
        return lenet(input_shape=(1, 14, 14), num_outputs=3)

    clients = federation(make=make, shape=(1, 14, 14))
    how = {"unfolded": unfolded, "channels_last": channels_last}
    expected = clients.results(*clients.trainer(engine), rounds=1)
    same(expected, clients.results(*clients.trainer("vectorized", private=private, **how), rounds=1))


@pytest.mark.parametrize(("engine", "private"), PAIRS, ids=["plain", "private"])
def test_attention_is_that_of_the_other_engine(federation, engine, private):
    def make():
        torch.manual_seed(0)
        shape = {"input_shape": (4, 3), "num_outputs": 3, "num_tokens": None}
        return transformer(width=8, heads=2, layers=1, per_position=False, **shape)

    clients = federation(make=make, shape=(4, 3))
    expected = clients.results(*clients.trainer(engine), rounds=1)
    same(expected, clients.results(*clients.trainer("vectorized", private=private), rounds=1))


@pytest.mark.parametrize("rule", [PlainRule(), FedNovaRule()])
@pytest.mark.parametrize("stack_size", [1, 3, 8])
def test_factors_of_a_wide_layer_are_its_weights(federation, rule, stack_size):
    def make():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(60, 70), nn.Tanh(), nn.Linear(70, 3))

    clients = federation(make=make, shape=(60,))
    factors, start = clients.trainer("vectorized", rule=rule, stack_size=stack_size, wide=("0",))
    found = clients.results(factors, start)
    assert set(factors._models) == {("0",)}, "kept as factors"
    same(clients.results(*clients.trainer("sgd", rule=rule)), found)


def unreadable():
    raise OSError("disk gone")


def label_that_is_none():
    x, y = examples(4)
    return x, torch.where(torch.arange(len(y)) == 2, 3, y)


@pytest.mark.parametrize("private", [private for _, private in PAIRS], ids=["plain", "private"])
@pytest.mark.parametrize(
    ("broken", "words"), [(unreadable, "OSError: disk gone"), (label_that_is_none, "IndexError: Target 3")]
)
def test_a_client_that_raises_fails_alone(federation, private, broken, words):
    """Also where it makes a whole stack raise."""
    multipliers = dict.fromkeys(range(len(RAGGED)), 1.0)
    [honest], [disturbed] = (
        clients.results(*clients.trainer("vectorized", private=private, stack_size=8), rounds=1)
        for clients in (
            federation(noise_multipliers=multipliers),
            federation(noise_multipliers=multipliers, sources={4: broken}),
        )
    )
    assert words in disturbed[4].failure
    assert disturbed[4].update is None
    same([{k: r for k, r in honest.items() if k != 4}], [disturbed])


class NotTheFirst(PoissonBatches):
    """The first example, which padding repeats, is in no batch."""

    def plan(self, coins, num_examples):
        return (indices[indices > 0] for indices in super().plan(coins, num_examples))


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
@pytest.mark.parametrize("drawn", [True, False])
def test_a_broken_example_harms_nobody_in_a_stack(federation, value, drawn):
    """Neither another client, nor the other examples of its own; nor where it only fills up a shorter batch."""
    batches = (PoissonBatches if drawn else NotTheFirst)(batch_size=4, local_epochs=2)

    def broken():
        x, y = examples(4)
        return torch.cat([torch.full((1, 6), value), x[1:]]), y

    whole, hurt = federation(poisson=batches), federation(poisson=batches, sources={4: broken})
    private = PAIRS[1][1]
    [clean] = whole.results(*whole.trainer("vectorized", private=private, stack_size=8), rounds=1)
    [dirty] = hurt.results(*hurt.trainer("vectorized", private=private, stack_size=8), rounds=1)
    [by_opacus] = hurt.results(*hurt.trainer("opacus"), rounds=1)
    assert torch.isfinite(dirty[4].update).all()
    for k in clean:
        if k != 4 or not drawn:
            assert torch.allclose(dirty[k].update, clean[k].update, atol=1e-6)
        if k != 4 or not math.isfinite(value):  # where norms overflow, 0 x infinity counts as zero here
            assert torch.allclose(dirty[k].update.double(), by_opacus[k].update, atol=1e-5)


@pytest.mark.parametrize("private", [private for _, private in PAIRS], ids=["plain", "private"])
def test_equal_work_gives_equal_bits_whoever_came_before(federation, private):
    """The same stack, after another, and after one that failed."""
    clients = federation(noise_multipliers=dict.fromkeys(range(len(RAGGED)), 1.0))
    trainer, start = clients.trainer("vectorized", private=private)
    first = clients.results(trainer, start, rounds=1)
    federation(sources={4: label_that_is_none}).results(trainer, 2 * start, rounds=1)
    again = clients.results(trainer, start, rounds=1)
    for k, result in first[0].items():
        assert torch.equal(result.update, again[0][k].update)


def test_global_generators_and_the_model_are_left_alone(federation):
    def dropping():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.5), nn.Linear(5, 3))

    clients = federation(make=dropping)
    trainer, start = clients.trainer("vectorized", private=PAIRS[1][1])
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    results = clients.results(trainer, start, rounds=1)
    assert all(result.failure is None for result in results[0].values())
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])


def test_stacks_hold_every_client_once_and_pad_little():
    """As the engine itself cuts them."""
    sizes = [1, 300, 4, 4, 5, 0, 7, 290, 4, 40]
    clients = [SimpleNamespace(plan=[np.arange(n)] * (1 + n // 100), size=n, seen=n, work=None) for n in sizes]
    for most in (1, 3, 8):
        stacks = list(vectorized.stacks(clients, most=most))
        assert sorted(client.size for stack in stacks for client in stack) == sorted(sizes)
        assert max(map(len, stacks)) <= most
