"""The preflight: layers that would leak or have no per-example gradient are named before anything is trained."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from fedpriv.errors import ConfigError
from fedpriv.models import lstm, resnet, transformer
from fedpriv.models.adaptation import freeze_except
from fedpriv.models.lora import add_lora
from fedpriv.training import check_model, fix_model


def check(model, *, example_level=True, input_shape=(1, 6, 6), num_classes=3):
    check_model(
        model,
        example_level=example_level,
        sample=torch.zeros(3, *input_shape),
        num_tokens=None,
        output_shape=(num_classes,),
        formulation=None,
    )


def network(*layers, outputs=3):
    return nn.Sequential(nn.Conv2d(1, 4, 3), *layers, nn.Flatten(), nn.Linear(64, outputs))


@pytest.mark.parametrize("example_level", [True, False])
@pytest.mark.parametrize("layer", [nn.BatchNorm2d(4), nn.InstanceNorm2d(4, track_running_stats=True, affine=True)])
def test_layers_that_remember_examples_are_refused_by_name(layer, example_level):
    with pytest.raises(ConfigError, match=rf"'1' \({type(layer).__name__}\).*fix_model=true"):
        check(network(layer), example_level=example_level)


def test_fixing_replaces_them():
    fixed = fix_model(network(nn.BatchNorm2d(4)))
    check(fixed)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in fixed.modules())


def test_layers_without_per_example_gradients_are_refused_by_name():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.memory = nn.LSTM(6, 4, batch_first=True)
            self.out = nn.Linear(4, 3)

        def forward(self, x):
            return self.out(self.memory(x[:, 0])[0][:, -1])

    with pytest.raises(ConfigError, match=r"'memory' \(LSTM\)"):
        check(Recurrent())
    check(Recurrent(), example_level=False)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (network(outputs=4), r"returns \(2, 4\).*asks for \(2, 3\)"),
        (nn.Linear(5, 3), "does not accept inputs"),
        (network().requires_grad_(False), "no trainable parameter"),
    ],
)
def test_models_that_do_not_fit_are_refused(model, words):
    with pytest.raises(ConfigError, match=words):
        check(model)


def test_checking_changes_nothing():
    model = network(nn.Dropout(0.5))
    before, state = torch.get_rng_state(), [p.clone() for p in model.parameters()]
    others = np.random.get_state()[1].copy(), random.getstate()
    check(model)
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(others[0], np.random.get_state()[1])
    assert others[1] == random.getstate()
    assert all(torch.equal(p, q) for p, q in zip(state, model.parameters(), strict=True))
    assert model.training


def test_a_parameter_that_no_message_can_carry_is_named():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3).to(torch.bfloat16))
    with pytest.raises(ConfigError, match=r"1\.weight is torch\.bfloat16.*float32"):
        check(model, example_level=False, input_shape=(4,))


# -- a row of the per-example gradients is one example's ---------------------------------------------------

TOKENS, LENGTH = 20, 7


class OneByOne(nn.Module):
    """Sequences of (length, 6); what the subclasses do to the batch is what must be noticed."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.last(torch.tanh(self.first(x))).mean(1)


class FoldsPositions(OneByOne):
    def forward(self, x):
        return self.last(torch.tanh(self.first(x.flatten(0, 1)))).unflatten(0, (len(x), -1)).mean(1)


class TimeFirst(OneByOne):
    """(length, batch, 6), as torch's own recurrent layers have it."""

    def forward(self, x):
        return self.last(torch.tanh(self.first(x.transpose(0, 1)))).mean(0)


class SumsThoseBefore(OneByOne):
    """Output 0 is of example 0 alone; the others are not."""

    def forward(self, x):
        return super().forward(x.cumsum(0))


class MixesBehindAGate(OneByOne):
    """At the first step nothing is mixed: the gate starts at zero."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(3, 3, bias=False)
        nn.init.zeros_(self.gate.weight)

    def forward(self, x):
        outputs = super().forward(x)
        return outputs + self.gate(outputs - outputs.mean(0))


class MixesGradientsOnly(OneByOne):
    def forward(self, x):
        hidden = self.first(x)
        return self.last(torch.tanh(hidden + hidden.mean(0) - hidden.mean(0).detach())).mean(1)


class MixesWhereGradientsAreEnabled(OneByOne):
    def forward(self, x):
        if self.training and not torch.is_grad_enabled():
            raise RuntimeError("no gradients here")
        return super().forward(x - x.mean(0) if self.training else x)


class DividesByTheBatch(OneByOne):
    def forward(self, x):
        return super().forward(x) / len(x)


class MixesLargeBatches(nn.Module):
    """Looks like any other until a batch is large."""

    def __init__(self, width):
        super().__init__()
        self.first = nn.Linear(width, 3)

    def forward(self, x):
        return self.first(x - x.mean(0) if len(x) > 8 else x)


class UsesItsWeightTwice(OneByOne):
    def forward(self, x):
        return super().forward(x) + nn.functional.linear(self.first(x), self.last.weight).mean(1)


@pytest.mark.parametrize(
    ("make", "length", "words"),
    [
        (FoldsPositions, 8, r"'first\.weight' has 24 rows for 3 examples"),
        (TimeFirst, 8, r"'first\.weight' has 8 rows for 3 examples"),
        (TimeFirst, 3, r"an example's gradient of 'first\.weight' changes with the other examples"),
        (SumsThoseBefore, 8, "an output changes with the other examples"),
        (MixesBehindAGate, 8, "an output changes with the other examples"),
        (MixesGradientsOnly, 8, r"gradient of 'first\.weight' changes with the other examples"),
        (MixesWhereGradientsAreEnabled, 8, "an output changes with the other examples"),
        (DividesByTheBatch, 8, "an output changes with the size of the batch"),
        (UsesItsWeightTwice, 8, r"'last\.weight' is not that of the example alone"),
    ],
)
def test_what_makes_a_row_another_thing_than_an_example_is_refused(make, length, words):
    with pytest.raises(ConfigError, match=words):
        check(make(), input_shape=(length, 6))
    check(make(), input_shape=(length, 6), example_level=False)
    check(OneByOne(), input_shape=(length, 6))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.output = nn.Embedding(TOKENS, 5), nn.Linear(5, TOKENS, bias=False)
        self.output.weight = self.embedding.weight

    def forward(self, x):
        return self.output(torch.tanh(self.embedding(x)))


class FrozenPartFolded(nn.Module):
    """Frozen embedding, positions folded into the batch of the head."""

    def __init__(self):
        super().__init__()
        self.embedding, self.output = nn.Embedding(TOKENS, 5).requires_grad_(False), nn.Linear(5, TOKENS)

    def forward(self, x):
        return self.output(self.embedding(x).flatten(0, 1)).unflatten(0, (len(x), -1))


def check_tokens(model, *, example_level=True):
    sample = torch.zeros(3, LENGTH, dtype=torch.int64)
    check_model(
        model,
        example_level=example_level,
        sample=sample,
        num_tokens=TOKENS,
        output_shape=(LENGTH, TOKENS),
        formulation=None,
    )


def test_a_frozen_part_hides_no_folded_positions():
    with pytest.raises(ConfigError, match=r"'output\.weight' has 21 rows for 3 examples"):
        check_tokens(FrozenPartFolded())


def language_models():
    shared = {"input_shape": (LENGTH,), "num_outputs": TOKENS, "num_tokens": TOKENS, "layers": 2, "per_position": True}
    yield "lstm", lambda: lstm(embedding=4, hidden=6, **shared)
    yield "transformer", lambda: transformer(width=8, heads=2, **shared)


@pytest.mark.parametrize("make", [make for _, make in language_models()], ids=[name for name, _ in language_models()])
@pytest.mark.parametrize("part", ["whole", "lora", "*output*"])
def test_language_models_pass_whole_and_in_part(make, part):
    model = make()
    if part == "lora":
        add_lora(model, rank=2, alpha=2.0, patterns=["*"])
    elif part != "whole":
        freeze_except(model, [part])
    check_tokens(model)


@pytest.mark.parametrize("seed", range(3))
def test_no_initial_weights_make_a_good_model_fail(seed):
    """Wide enough that rounding moves some ReLU across its kink."""
    torch.manual_seed(seed)
    model = resnet(input_shape=(3, 16, 16), num_outputs=3, width=32, blocks=1, groups=8)
    check(model, input_shape=(3, 16, 16))


def test_tied_layers_and_dropout_pass():
    check_tokens(Tied())
    check(nn.Sequential(nn.Flatten(), nn.Linear(36, 64), nn.Dropout(0.5), nn.Linear(64, 3)))


# -- nothing stays in the model ----------------------------------------------------------------------------


class Remembers(nn.Module):
    """Centres features by a running mean, kept in a frozen parameter, a buffer or a plain attribute."""

    def __init__(self, where):
        super().__init__()
        self.output, mean = nn.Linear(6, 3), torch.zeros(6)
        if where == "parameter":
            self.mean = nn.Parameter(mean, requires_grad=False)
        elif where == "buffer":
            self.register_buffer("mean", mean, persistent=False)
        else:
            self.mean = mean

    def forward(self, x):
        if self.training:
            with torch.no_grad():
                self.mean.mul_(0.9).add_(x.mean(0), alpha=0.1)
        return self.output(x - self.mean.clone())


class RemembersItsFirstBatch(nn.Module):
    """What it keeps is set once, and is no tensor of the model."""

    def __init__(self):
        super().__init__()
        self.output, self._scales = nn.Linear(6, 3), {}

    def forward(self, x):
        if self.training:
            self._scales.setdefault("first", x.detach().std(0) + 1)
        return self.output(x / self._scales.get("first", 1.0))


@pytest.mark.parametrize("example_level", [True, False])
@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Remembers("parameter"), "parameter 'mean' changes while it trains"),
        (Remembers("buffer"), "buffer 'mean' changes while it trains"),
        (Remembers("attribute"), "remembers examples in the attribute 'mean'"),
        (RemembersItsFirstBatch(), "remembers examples: its outputs change"),
    ],
)
def test_a_model_that_remembers_what_it_has_seen_is_refused(model, words, example_level):
    with pytest.raises(ConfigError, match=words):
        check(model, input_shape=(6,), example_level=example_level)


@pytest.mark.parametrize("example_level", [True, False])
@pytest.mark.parametrize("layer", [nn.Embedding(TOKENS, 3, max_norm=1.0), nn.EmbeddingBag(TOKENS, 3, max_norm=1.0)])
def test_embeddings_that_rewrite_their_weights_are_refused_by_name(layer, example_level):
    with pytest.raises(ConfigError, match=rf"'0' \({type(layer).__name__}\) has max_norm"):
        check_tokens(nn.Sequential(layer), example_level=example_level)


class RaisesInTraining(OneByOne):
    def forward(self, x):
        if self.training:
            raise RuntimeError("only ever half the story")
        return super().forward(x)


def test_a_model_that_raises_in_training_cannot_be_checked_at_example_level():
    with pytest.raises(ConfigError, match="RuntimeError: only ever half the story"):
        check(RaisesInTraining(), input_shape=(8, 6))
    check(RaisesInTraining(), input_shape=(8, 6), example_level=False)


def test_outputs_that_are_not_finite_prove_nothing():
    class Logarithm(OneByOne):
        def forward(self, x):
            return super().forward(torch.log(x - 5))

    with pytest.raises(ConfigError, match="not finite"):
        check(Logarithm(), input_shape=(8, 6))
