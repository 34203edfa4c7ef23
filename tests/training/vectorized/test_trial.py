"""Whether a model can be stacked is tried, not guessed: what mixes examples is refused, the rest falls back."""

from functools import partial

import pytest
import torch
from torch import nn

from fedpriv.errors import ConfigError
from fedpriv.models import lenet, lstm, transformer
from fedpriv.training import Formulation, check_model, find_formulation


def found(model, *shape, num_tokens=None, by_example=True):
    sample = torch.zeros(1, *shape) if num_tokens is None else torch.zeros(1, *shape, dtype=torch.int64)
    return find_formulation(model, sample, num_tokens, by_example=by_example)


class Mixes(nn.Module):
    """The output of an example depends on the others'."""

    def __init__(self, how):
        super().__init__()
        self.layer, self.how = nn.Linear(4, 3), how

    def forward(self, x):
        return self.how(self.layer(x))


class UsesTheWeight(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(x) @ self.layer.weight


class SameObjectTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 4)
        self.last.weight = self.first.weight

    def forward(self, x):
        return self.last(self.first(x).tanh())


@pytest.mark.parametrize("by_example", [True, False])
@pytest.mark.parametrize(
    "model",
    [
        Mixes(lambda out: out - out.mean(dim=0)),
        Mixes(lambda out: out.cumsum(dim=0)),
        nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, track_running_stats=False)),
    ],
    ids=["mean over the batch", "those before", "batch norm"],
)
def test_what_mixes_examples_is_refused(model, by_example):
    formulation = found(model, 4, by_example=by_example)
    assert formulation is None or formulation.whole, "only example by example, if at all"
    if by_example:
        # mapped over examples there is no batch to mix; evaluation would, so the preflight refuses it
        with pytest.raises(ConfigError):
            check_model(
                model,
                example_level=True,
                sample=torch.zeros(3, 4),
                num_tokens=None,
                output_shape=(3,),
                formulation=formulation,
            )


@pytest.mark.parametrize("by_example", [True, False])
def test_layers_are_exchanged_where_that_is_right(by_example):
    model = lenet(input_shape=(1, 14, 14), num_outputs=3)
    formulation = found(model, 1, 14, 14, by_example=by_example)
    assert (formulation.whole, formulation.side_by_side) == (False, True)
    assert formulation.methods == dict.fromkeys(("conv1", "conv2", "fc1", "fc2"), "book-keeping")


def test_what_reads_a_layers_weight_trains_one_client_after_another():
    sizes = {"num_outputs": 3, "embedding": 3, "hidden": 4, "layers": 1, "per_position": True}
    formulation = found(lstm(input_shape=(5,), num_tokens=7, **sizes), 5, num_tokens=7)
    assert (formulation.whole, formulation.side_by_side) == (False, False)


@pytest.mark.parametrize("make", [UsesTheWeight, SameObjectTwice])
def test_weights_that_are_used_past_their_layer_are_mapped_as_a_whole(make):
    formulation = found(make(), 4)
    assert formulation.whole
    assert formulation.side_by_side
    assert formulation.methods == {"": "vmap"}


def test_what_no_formulation_can_is_left_to_the_other_engines():
    class Decides(nn.Module):
        """Reads numbers in Python, which no mapped pass can; and reads a weight, which no exchanged layer has."""

        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)
            self.other = nn.Linear(4, 3)

        def forward(self, x):
            rows = [self.layer(row[None]) if float(row.sum()) > 4 else row[None] @ self.other.weight.T for row in x]
            return torch.cat(rows)

    assert found(Decides(), 4) is None


def test_an_attention_layer_stacks():
    settings = {"num_outputs": 3, "num_tokens": None, "width": 8, "heads": 2, "layers": 1, "per_position": False}
    formulation = found(transformer(input_shape=(4, 3), **settings), 4, 3)
    assert (formulation.whole, formulation.side_by_side) == (False, True)


def test_wide_layers_are_named():
    """At least 2^18 weights, applied in one place."""
    make = partial(nn.Linear, 512)
    assert found(nn.Sequential(make(512), nn.Linear(512, 3)), 512).wide == ("0",)
    assert found(nn.Sequential(make(511), nn.Linear(511, 3)), 512).wide == ()
    assert found(nn.Sequential(make(512), nn.Linear(512, 3)), 2, 512).wide == ()


def test_the_model_and_the_generators_are_left_alone():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 3))
    weights, state = [p.detach().clone() for p in model.parameters()], torch.get_rng_state()
    first = found(model, 4)
    assert isinstance(first, Formulation)
    assert first == found(model, 4), "deterministic"
    assert all(torch.equal(p, weight) for p, weight in zip(model.parameters(), weights, strict=True))
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)


class MixesWhileTraining(nn.Module):
    def forward(self, x):
        return x - x.mean(0) if self.training else x


class MixesUp(nn.Module):
    def forward(self, x):
        return x + x[torch.randperm(len(x))] if self.training else x


@pytest.mark.parametrize("by_example", [True, False])
@pytest.mark.parametrize("mixes", [MixesWhileTraining, MixesUp])
def test_clients_of_a_model_that_mixes_only_while_it_trains_never_meet_in_a_stack(mixes, by_example):
    assert found(nn.Sequential(nn.Linear(4, 5), mixes(), nn.Linear(5, 2)), 4, by_example=by_example) is None


@pytest.mark.parametrize("by_example", [True, False])
def test_a_model_that_tosses_coins_trains_one_client_at_a_time_each_with_its_own(by_example):
    chosen = found(nn.Sequential(nn.Linear(4, 5), nn.Dropout(0.5), nn.Linear(5, 2)), 4, by_example=by_example)
    assert chosen is not None
    assert not chosen.side_by_side


class LooksForPixels(nn.Module):
    def forward(self, x):
        return x / 255 if x.max() > 100 else x


class DropsPathsRarely(nn.Module):
    def forward(self, x):
        return x * (torch.rand(()) > 0.001) if self.training else x


def test_a_model_that_looks_at_the_whole_batch_for_its_scale_is_not_stacked():
    assert found(nn.Sequential(LooksForPixels(), nn.Linear(4, 2)), 4, by_example=False) is None


def test_coins_are_noticed_however_rarely_they_matter():
    chosen = found(nn.Sequential(nn.Linear(4, 5), DropsPathsRarely(), nn.Linear(5, 2)), 4, by_example=False)
    assert chosen is None or not chosen.side_by_side
