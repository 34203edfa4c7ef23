"""Gradients of examples clipped layer by layer: by both engines alike, never longer than said, noise for all of it."""

import copy
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from opacus.optimizers import DPOptimizer
from torch import nn
from torch.func import functional_call, grad, vmap

from crash.runs import ledger
from fedpriv.accounting.guarantee import state_guarantee
from fedpriv.accounting.ledger import LAYER, compositions
from fedpriv.accounting.sampling import cohort_sampling
from fedpriv.config import compose
from fedpriv.conformance import kit
from fedpriv.conformance.example_level import ExampleLevelSubject
from fedpriv.errors import ConfigError
from fedpriv.experiment.assembly import Experiment
from fedpriv.models import ParameterLayout
from fedpriv.privacy import PoissonBatches, make_sampler
from fedpriv.privacy.mechanisms import ExampleGaussian
from fedpriv.training import ClientWork, DpSgd, Formulation, VectorizedTrainer, make_task
from fedpriv.training.layer_clipping import layer_of
from fedpriv.training.opacus_trainer import OpacusTrainer
from fedpriv.training.rules import PlainRule
from fedpriv.training.vectorized.noise import StackNoise
from fedpriv.verification import verify

CPU = torch.device("cpu")
NORMS = {"0": 0.3, "3": 0.4, "5": 0.25}
WHOLE = math.hypot(*NORMS.values())
ENGINES = ("opacus", "vectorized")
ALL_AT_ONCE = PoissonBatches(batch_size=12, local_epochs=1)


def net():
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 4 * 4, 8), nn.Tanh(), nn.Linear(8, 4)
    )


def examples():
    generator = torch.Generator().manual_seed(5)
    return torch.randn(12, 1, 6, 6, generator=generator), torch.randint(0, 4, (12,), generator=generator)


def trainer(engine, model, *, layer_norms=NORMS, max_grad_norm=WHOLE, stack_size=3):
    task = make_task("auto", targets="classes", label_shape=(), num_classes=4, label_range=None)
    shared = {
        "model": model,
        "layout": ParameterLayout.of(model),
        "task": task,
        "make_optimizer": partial(torch.optim.SGD, lr=1.0),
        "batches": ALL_AT_ONCE,
        "proximal_mu": 0.0,
        "rule": PlainRule(),
        "device": CPU,
    }
    if engine == "opacus":
        return OpacusTrainer(max_grad_norm=max_grad_norm, layer_norms=layer_norms, **shared)
    return VectorizedTrainer(
        formulation=Formulation(whole=False, side_by_side=True, methods={}, wide=()),
        stack_size=stack_size,
        unfolded=True,
        channels_last=False,
        private=DpSgd(
            max_grad_norm=max_grad_norm, layer_norms=layer_norms, expected_size=ALL_AT_ONCE.expected_size
        ),
        **shared,
    )


def work(streams, data, *, noise=0.0, client=0):
    return ClientWork(
        client_id=client,
        examples=lambda: data,
        state={},
        broadcast={},
        noise_multiplier=noise,
        batches=partial(streams.rng, "batches", 1, client),
        noise=partial(streams.torch_generator, "noise", 1, client),
        torch_state=partial(streams.torch_state, "training", 1, client),
    )


def step(engine, streams, data, *, noise=0.0, **kwargs):
    """Sum of the clipped gradients of one step, and the client's metrics."""
    model = net()
    start = ParameterLayout.of(model).from_module(model)
    [result] = trainer(engine, model, **kwargs).train(start, [work(streams, data, noise=noise)])
    return -result.update.double() * 12, result.metrics


def expected(data, norms):
    """By torch.func: every example's gradient, cut layer by layer."""
    model = net()
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def loss(values, x, y):
        return nn.functional.cross_entropy(functional_call(model, values, (x[None],)), y[None])

    found = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, *data)
    total = []
    for name, rows in found.items():
        own = torch.cat([r.flatten(1) for n, r in found.items() if layer_of(n) == layer_of(name)], dim=1)
        factors = (norms[layer_of(name)] / own.norm(dim=1)).clamp(max=1.0)
        total.append((rows.flatten(1) * factors[:, None]).sum(dim=0))
    return torch.cat(total).double()


@pytest.mark.parametrize("engine", ENGINES)
def test_every_layer_is_cut_by_itself(engine, new_streams):
    data = examples()
    found, metrics = step(engine, new_streams(0), data)
    assert torch.allclose(found, expected(data, NORMS), atol=1e-6, rtol=1e-4)
    assert 0 < metrics["clipped_examples"] <= 1
    flat, _ = step(engine, new_streams(0), data, layer_norms={})
    assert not torch.allclose(found, flat, atol=1e-3)


@pytest.mark.parametrize("engine", ENGINES)
def test_one_example_moves_no_layer_by_more_than_its_norm(engine, new_streams):
    x, y = examples()
    other = x.clone()
    other[0] *= 1e4
    here, there = (step(engine, new_streams(0), (data, y))[0] for data in (x, other))
    lengths = {name: p.numel() for name, p in net().named_parameters()}
    parts = dict(zip(lengths, (here - there).split(list(lengths.values())), strict=True))
    for layer, norm in NORMS.items():
        moved = torch.cat([part for name, part in parts.items() if layer_of(name) == layer])
        assert moved.norm() <= 2 * norm * (1 + 1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_example_that_is_not_finite_in_one_layer_counts_as_zero_in_all(engine, new_streams):
    x, y = examples()
    broken = x.clone()
    broken[4] = math.inf
    found, metrics = step(engine, new_streams(0), (broken, y))
    kept = [i for i in range(12) if i != 4]
    assert torch.allclose(found, expected((x[kept], y[kept]), NORMS), atol=1e-6, rtol=1e-4)
    assert metrics["clipped_examples"] >= 1 / 12


@pytest.mark.parametrize("engine", ENGINES)
def test_noise_is_for_all_layers_together(engine, new_streams, judge):
    """As Opacus' own per-layer optimizer has it: standard deviation z sqrt(sum of squared norms) everywhere."""
    streams, data = new_streams(0), examples()
    silent, _ = step(engine, streams, data)
    drawn = []
    for seed in range(30):
        noisy, _ = step(engine, new_streams(seed), data, noise=5.0)
        drawn.append((noisy - silent).numpy())
    drawn = np.concatenate(drawn) / WHOLE
    assert judge.has_std(drawn, 5.0)
    assert not judge.has_std(drawn, 4.5)
    assert not judge.has_std(drawn, 5.0 * max(NORMS.values()) / WHOLE * 0.98)


def test_clients_side_by_side_are_each_as_alone(new_streams):
    x, y = examples()
    clients = [(x[:5], y[:5]), (x[5:8], y[5:8]), (x[8:], y[8:])]
    model, streams = net(), new_streams(0)
    start = ParameterLayout.of(model).from_module(model)
    items = [work(streams, data, noise=1.0, client=k) for k, data in enumerate(clients)]
    together = sorted(trainer("vectorized", model).train(start, items), key=lambda result: result.client_id)
    for item, data, result in zip(items, clients, together, strict=True):
        [alone] = trainer("vectorized", copy.deepcopy(model), stack_size=1).train(start, [item])
        assert torch.allclose(result.update.double(), alone.update.double(), atol=1e-6)
        silent, loud = (
            [step(engine, streams, data)[0] for engine in ENGINES],
            (result.update.double() * -len(data[1])).numpy(),
        )
        assert torch.allclose(silent[0], silent[1], atol=1e-4)
        assert 0.5 * WHOLE < (loud - silent[1].numpy() * len(data[1]) / 12).std() < 1.5 * WHOLE


# -- the kit -----------------------------------------------------------------------------------------------

PLANTED = {"parts.0": 0.3, "parts.1": 0.6}


def made(streams, sampler, *, most=None):
    return ExampleGaussian(
        max_grad_norm=math.hypot(*PLANTED.values()) if most is None else most,
        layer_norms=PLANTED,
        rates=np.full(40, 0.25),
        steps=np.full(40, 4),
        noise_multipliers=np.full(40, 0.9),
    )


def subject(engine):
    law = cohort_sampling(kind="poisson", population=40, cohort=8, separation=None, cap=None)
    return ExampleLevelSubject(
        name="layers",
        make=made,
        make_sampler=lambda streams: make_sampler(law, clients=np.arange(40), streams=streams),
        population=40,
        batches=PoissonBatches(batch_size=8, local_epochs=1),
        num_examples=32,
        engine=engine,
    )


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_the_kit_holds(engine):
    assert kit.measure_subject(subject(engine)).failed == []


def test_the_kit_catches_a_layer_that_is_clipped_too_wide(monkeypatch):
    """By the vectorised engine; Opacus' optimizer cuts what is longer than all layers together."""
    monkeypatch.setattr(ExampleLevelSubject, "_layer_norms", {"parts.0": 0.3, "parts.1": 1.2})
    assert kit.measure_property("sensitivity_zero_out", subject("vectorized")).verdict == "fails"


@pytest.mark.parametrize("engine", ENGINES)
def test_the_kit_catches_a_layer_without_noise(engine, monkeypatch):
    if engine == "opacus":
        honest = DPOptimizer.add_noise

        def skips(self):
            honest(self)
            self.params[-1].grad = self.params[-1].summed_grad.clone()

        monkeypatch.setattr(DPOptimizer, "add_noise", skips)
    else:
        honest = StackNoise.add

        def skips(self, gradient, *, step):
            silent = gradient / self._divisors
            honest(self, gradient, step=step)
            gradient[:, 2:] = silent[:, 2:]

        monkeypatch.setattr(StackNoise, "add", skips)
    assert kit.measure_property("noise_std", subject(engine)).verdict == "fails"


# -- runs --------------------------------------------------------------------------------------------------

RUN = ("model=mlp", "+privacy.layer_norms={output: 0.3}", "privacy.max_grad_norm=1.0", "privacy.epsilon=6")


@pytest.fixture(scope="module")
def ran(run_digits):
    return run_digits(*RUN)


def test_a_run_states_the_norm_of_every_layer_and_of_all(ran):
    stated = ran.record.guarantee
    norms = dict(stated["norm"]["value"])
    together = norms.pop("together")
    assert together == pytest.approx(math.hypot(*norms.values())) == stated["sensitivity"]
    assert norms["output"] == 0.3
    assert {value for name, value in norms.items() if name != "output"} == {1 / math.sqrt(len(norms))}
    assert stated["epsilon"] <= 6
    assert verify(ran.folder).holds


def test_both_engines_learn_alike(run_digits, ran):
    other = run_digits(*RUN, "training.engine=opacus")
    assert ran.record.extra["training"]["engine"] == "vectorized"
    assert other.record.metrics["test_loss"] == pytest.approx(ran.record.metrics["test_loss"], rel=1e-2)
    assert other.record.guarantee["epsilon"] == ran.record.guarantee["epsilon"]


def test_norms_longer_than_the_noise_is_for_are_refused():
    with pytest.raises(ConfigError, match="longer than"):
        made(None, None, most=0.6)


def test_a_ledger_whose_layers_are_wider_than_its_sensitivity_is_refused(ran):
    experiment = Experiment.assemble(compose(["experiment=digits_smoke", *RUN], config_dir=None))
    terms = experiment.privacy.headline.terms
    entries = ledger(ran.folder)
    assert state_guarantee(entries, terms=terms) is not None
    assert compositions(entries)
    wider = tuple((name, value * 2) for name, value in entries[0].details)
    assert all(name.startswith(LAYER) for name, _ in wider)
    for forged in ([replace(e, details=wider) for e in entries], [replace(entries[0], details=wider), *entries[1:]]):
        with pytest.raises(ConfigError, match="layers"):
            state_guarantee(forged, terms=terms)


OUTPUT = "+privacy.layer_norms={output: 1}"


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (("+privacy.layer_norms={nothing: 1}",), "no layer is nothing"),
        (("+privacy.layer_norms={output: 0}",), "positive number"),
        ((OUTPUT, "strategy=personal_layers", "strategy.personal=['output.*']"), "drop one"),
        ((OUTPUT, "+privacy.group_norms={sex: {M: 1}}"), "cannot be had together"),
    ],
)
def test_what_cannot_be_is_refused(overrides, reason):
    with pytest.raises(ConfigError, match=reason):
        Experiment.assemble(compose(["experiment=digits_smoke", "model=mlp", *overrides], config_dir=None))
