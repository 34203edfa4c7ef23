"""What one client leaves in the model is gone before the next, whichever engine trains it."""

from functools import partial

import pytest
import torch
from torch import nn

from fedpriv.models import ParameterLayout
from fedpriv.privacy import PoissonBatches
from fedpriv.training import Classification, ClientWork, FunctionTrainer, SgdTrainer, ShuffledBatches
from fedpriv.training.opacus_trainer import OpacusTrainer
from fedpriv.training.rules import PlainRule


class Remembers(nn.Module):
    """A running mean in a frozen parameter, another in a buffer; and it unfreezes its first layer as it trains."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.output = nn.Linear(6, 6).requires_grad_(False), nn.Linear(6, 3)
        self.mean = nn.Parameter(torch.zeros(6), requires_grad=False)
        self.register_buffer("square", torch.ones(6), persistent=False)

    def forward(self, x):
        with torch.no_grad():
            self.mean.mul_(0.5).add_(x.mean(0), alpha=0.5)
            self.square = 0.5 * self.square + 0.5 * (x**2).mean(0)
        return self.output(self.first((x - self.mean.clone()) / self.square))


class Unfreezes(Remembers):
    def forward(self, x):
        outputs = super().forward(x)
        self.first.requires_grad_(True)
        return outputs


def train_by_hand(model, loader, *, prepare=lambda model: None):
    prepare(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for x, y in loader:
        nn.functional.cross_entropy(model(x), y).backward()  # gradients of the client before would count here
        optimizer.step()


def unfreeze(model):
    model.requires_grad_(True)


def freeze(model):
    model.output.requires_grad_(False)
    model.first.requires_grad_(True)


def replace_a_layer(model):
    model.output = nn.Linear(6, 3, bias=False)


def trainer(engine, model, *, function=train_by_hand):
    shared = {
        "model": model,
        "layout": ParameterLayout.of(model),
        "rule": PlainRule(),
        "device": torch.device("cpu"),
    }
    if engine == "function":
        return FunctionTrainer(function=function, batch_size=4, **shared)
    shared |= {
        "task": Classification(num_classes=3),
        "make_optimizer": partial(torch.optim.SGD, lr=0.1),
        "proximal_mu": 0.0,
    }
    if engine == "opacus":
        batches = PoissonBatches(batch_size=4, local_epochs=2)
        return OpacusTrainer(batches=batches, max_grad_norm=1.0, layer_norms={}, **shared)
    return SgdTrainer(batches=ShuffledBatches(batch_size=4, local_epochs=2), **shared)


@pytest.fixture
def results(new_streams):
    """The results of the clients named, trained one after another on one node."""
    streams = new_streams(0)

    def examples(client):
        x = torch.randn(20, 6, generator=torch.Generator().manual_seed(client))
        return 3 * client + (1 + client) * x, torch.arange(20) % 3

    def of(used, start, clients):
        work = [
            ClientWork(
                client_id=k,
                examples=partial(examples, k),
                state={},
                broadcast={},
                noise_multiplier=1.0,
                batches=partial(streams.rng, "batches", 1, k, 0),
                noise=partial(streams.torch_generator, "noise", 1, k, 0),
                torch_state=partial(streams.torch_state, "training", 1, k, 0),
            )
            for k in clients
        ]
        return list(used.train(start, work))

    def run(make, *clients):
        model = make["model"]()
        start = ParameterLayout.of(model).from_module(model)
        return of(trainer(make["engine"], model, function=make.get("function", train_by_hand)), start, clients)

    return run


@pytest.mark.parametrize("engine", ["sgd", "opacus", "function"])
@pytest.mark.parametrize("model", [Remembers, Unfreezes])
def test_a_client_finds_the_model_as_if_it_were_the_first(results, engine, model):
    make = {"engine": engine, "model": model}
    [alone] = results(make, 1)
    _, after_another = results(make, 0, 1)
    assert alone.failure is None
    assert torch.equal(alone.update, after_another.update)
    assert alone.update.norm() > 0.01


@pytest.mark.parametrize("prepare", [unfreeze, freeze])
def test_a_function_may_freeze_and_unfreeze_for_its_own_client(results, prepare):
    make = {"engine": "function", "model": Remembers, "function": partial(train_by_hand, prepare=prepare)}
    [alone] = results(make, 1)
    _, after_another = results(make, 0, 1)
    assert alone.failure is None
    assert torch.equal(alone.update, after_another.update)
    assert bool(alone.update.any()) == (prepare is unfreeze)


def test_a_function_that_takes_a_layer_away_fails_with_its_name_and_spoils_no_other(results):
    def sometimes(model, loader):
        x, _ = next(iter(loader))
        train_by_hand(model, loader, prepare=replace_a_layer if x.mean() < 1 else lambda model: None)

    make = {"engine": "function", "model": Remembers, "function": sometimes}
    broken, sound = results(make, 0, 1)
    assert "removed the model's parameter 'output.bias'" in broken.failure
    assert broken.update is None
    assert torch.equal(sound.update, results(make, 1)[0].update)


@pytest.mark.parametrize("engine", ["sgd", "opacus"])
def test_a_layer_that_goes_missing_fails_every_client_after_it_in_words(results, engine):
    class LosesALayer(Remembers):
        def forward(self, x):
            outputs = super().forward(x)
            if not hasattr(self, "forgotten"):
                self.forgotten = True
                self._parameters["mean"] = nn.Parameter(torch.zeros(7), requires_grad=False)
            return outputs

    [*_, last] = results({"engine": engine, "model": LosesALayer}, 0, 1)
    assert last.update is None
    assert "'mean' was replaced" in last.failure
