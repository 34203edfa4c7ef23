"""Local rules: what clients of SCAFFOLD, FedNova and FedPer do beside their steps."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from fedpriv.models import ParameterLayout
from fedpriv.privacy import PoissonBatches
from fedpriv.training import Classification, ClientWork, SgdTrainer, ShuffledBatches
from fedpriv.training.opacus_trainer import OpacusTrainer
from fedpriv.training.rules import FedNovaRule, PersonalLayersRule, PlainRule, ScaffoldRule

CPU = torch.device("cpu")
LR = 0.1


def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3))


X = torch.randn(9, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(9) % 3


def shared(module, without=()):
    return ParameterLayout.of(module, without=without)


@pytest.fixture
def train(new_streams):
    streams = new_streams(0)

    def run(rule, *, state=None, broadcast=None, without=(), engine="sgd", x=X, y=Y, module=None):
        module = module or model()
        layout = shared(module, without)
        common = {
            "model": module,
            "layout": layout,
            "task": Classification(num_classes=3),
            "make_optimizer": partial(torch.optim.SGD, lr=LR),
            "proximal_mu": 0.0,
            "rule": rule,
            "device": CPU,
        }
        if engine == "sgd":
            trainer = SgdTrainer(batches=ShuffledBatches(batch_size=4, local_epochs=2), **common)
        else:
            batches = PoissonBatches(batch_size=4, local_epochs=2)
            trainer = OpacusTrainer(batches=batches, max_grad_norm=1.0, layer_norms={}, **common)
        work = ClientWork(
            client_id=0,
            examples=lambda: (x, y),
            state=state or {},
            broadcast=broadcast or {},
            noise_multiplier=math.nan if engine == "sgd" else 0.0,
            batches=partial(streams.rng, "batches", 1, 0),
            noise=partial(streams.torch_generator, "noise", 1, 0),
            torch_state=partial(streams.torch_state, "training", 1, 0),
        )
        [result] = trainer.train(layout.from_module(module), [work])
        assert result.failure is None
        return result, module

    return run


def control(seed):
    return 0.05 * torch.randn(shared(model()).size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("engine", ["sgd", "opacus"])
def test_scaffold_follows_algorithm_1_of_the_paper(engine, train):
    """Option II, written out: every step y <- y - lr (g - c_i + c), then c_i <- c_i - c + (x - y) / (K lr)."""
    c, own = control(1), control(2)
    gradients = []

    class Corrected(torch.optim.SGD):
        def step(self, closure=None):
            gradients.append(torch.cat([p.grad.reshape(-1) for p in self.param_groups[0]["params"]]))
            return super().step(closure)

    corrected, _ = train(ScaffoldRule(lr=LR), state={"control": own}, broadcast={"control": c}, engine=engine)
    steps = int(corrected.metrics["steps"])
    assert steps > 1
    new = own.double() - c.double() - corrected.update / (steps * LR)
    assert torch.allclose(corrected.state["control"].double(), new, atol=1e-6)

    # with c = c_i the correction vanishes, and c_i becomes the mean gradient along the way
    equal, _ = train(ScaffoldRule(lr=LR), state={"control": c}, broadcast={"control": c}, engine=engine)
    plain, _ = train(PlainRule(), engine=engine)
    assert torch.allclose(equal.update, plain.update, atol=1e-7)
    assert torch.allclose(equal.state["control"].double(), -plain.update / (steps * LR), atol=1e-6)
    assert not torch.allclose(corrected.update, plain.update, atol=1e-4)


def test_scaffolds_correction_is_in_every_step(train):
    """On a loss without gradient only c - c_i moves the model: K steps of lr (c_i - c)."""
    c, own = control(1), control(2)
    frozen = model()
    zero = nn.Sequential(nn.Flatten(), _Constant(frozen))
    layout = shared(zero)
    start = layout.from_module(zero)
    result, _ = train(ScaffoldRule(lr=LR), state={"control": own}, broadcast={"control": c}, module=zero)
    steps = int(result.metrics["steps"])
    assert torch.allclose(result.update, steps * LR * (own - c).double(), atol=1e-6)
    assert start.shape == result.update.shape


class _Constant(nn.Module):
    """Has the parameters of a model, and outputs that do not depend on them."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return 0 * self.inner(x)


def test_a_new_client_of_scaffold_starts_from_zero(train):
    zero = {"control": torch.zeros_like(control(1))}
    given, _ = train(ScaffoldRule(lr=LR), state=zero, broadcast={"control": control(1)})
    absent, _ = train(ScaffoldRule(lr=LR), broadcast={"control": control(1)})
    assert torch.equal(given.update, absent.update)
    assert torch.equal(given.state["control"], absent.state["control"])


def test_a_client_without_examples_keeps_its_control(train):
    result, _ = train(
        ScaffoldRule(lr=LR), state={"control": control(2)}, broadcast={"control": control(1)}, x=X[:0], y=Y[:0]
    )
    assert torch.equal(result.state["control"], control(2))
    assert not result.update.any()


def test_fednova_sends_the_update_per_step(train):
    nova, _ = train(FedNovaRule())
    plain, _ = train(PlainRule())
    assert plain.metrics["steps"] == 6  # two epochs of batches of 4, 4 and 1
    assert torch.equal(nova.update, plain.update / 6)


@pytest.mark.parametrize("engine", ["sgd", "opacus"])
def test_personal_layers_train_with_the_rest_and_stay(engine, train):
    module = model()
    head = ParameterLayout.of(module, without=("0.*",))
    rule = PersonalLayersRule(layout=head, initial=head.from_module(module))
    result, trained = train(rule, without=("2.*",), engine=engine, module=module)
    plain, whole = train(PlainRule(), engine=engine)
    assert len(result.update) == 6 * 4 + 4
    assert torch.equal(result.update, plain.update[: len(result.update)])
    assert torch.equal(result.state["personal"], head.from_module(whole).float())
    assert not torch.equal(head.from_module(trained), rule.initial)


def test_personal_layers_are_the_clients_own_next_round(train):
    module = model()
    head = ParameterLayout.of(module, without=("0.*",))
    rule = PersonalLayersRule(layout=head, initial=head.from_module(module))
    first, _ = train(rule, without=("2.*",))
    again, _ = train(rule, without=("2.*",), state=first.state)
    other, _ = train(rule, without=("2.*",))
    assert torch.equal(other.update, first.update), "no client sees what another one left in the model"
    assert not torch.equal(again.update, first.update)
    own = rule.own_parameters(first.state)
    assert torch.equal(head.flatten(own).float(), first.state["personal"])
