"""What stacked layers make of a pass: the norms and clipped sums that Opacus and autograd find, example by example."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.grad_sample import GradSampleModule
from torch import nn

from fedpriv.models import cnn, lenet, logistic, lstm, mlp, resnet, tabular_mlp, transformer
from fedpriv.models.adaptation import freeze_except
from fedpriv.models.lora import add_lora
from fedpriv.training.probes import moved
from fedpriv.training.vectorized.model import StackedModel

# Relative to the clipped sum's length, and to each norm: both sides are float32, and sum in another order.
TOLERANCE = 1e-4
CLIENTS, EXAMPLES, TOKENS = 4, 5, 11
SIZES = st.lists(st.integers(0, EXAMPLES), min_size=1, max_size=CLIENTS).filter(any)


@dataclass(frozen=True)
class Case:
    """A model for three classes, and the examples that it takes.

    Attributes:
        by_opacus: whether Opacus finds its gradients; else each example's is asked of autograd.
        alone: whether it trains one client after another, as `find_formulation` has it.
        whole: whether it is mapped as it is.
    """

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    tokens: bool = False
    by_opacus: bool = True
    alone: bool = False
    whole: bool = False

    def examples(self, n: int, *, seed: int) -> torch.Tensor:
        coins = torch.Generator().manual_seed(seed)
        if self.tokens:
            return torch.randint(0, TOKENS, (n, *self.shape), generator=coins)
        return torch.randn(n, *self.shape, generator=coins)

    def models(self) -> list[nn.Module]:
        """One a client, whose parameters differ."""
        torch.manual_seed(0)
        model = self.make()
        return [moved(model, seed=seed) for seed in range(CLIENTS)]


def adapted(model: nn.Module) -> nn.Module:
    add_lora(model, rank=2, alpha=4.0, patterns=("*",))
    return model


def only(model: nn.Module, *names: str) -> nn.Module:
    freeze_except(model, names)
    return model


class Twice(nn.Module):
    """Layers that are called again: Linear, convolution, embedding and norm."""

    def __init__(self):
        super().__init__()
        self.token, self.conv = nn.Embedding(TOKENS, 4), nn.Conv1d(4, 4, 3, padding=1)
        self.norm, self.shared, self.output = nn.LayerNorm(4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        x = self.token(x) + self.token(x.flip(1))
        x = self.conv(self.conv(x.mT).tanh()).mT
        x = self.norm(self.shared(self.norm(self.shared(x).tanh())))
        return self.output(x.mean(dim=1))


class Tied(nn.Module):
    """Scores are inner products with the embedding's own rows."""

    def __init__(self):
        super().__init__()
        self.embedding, self.output = nn.Embedding(TOKENS, 4), nn.Linear(4, TOKENS, bias=False)
        self.output.weight = self.embedding.weight

    def forward(self, x):
        return self.output(self.embedding(x).mean(dim=1).tanh())


class Scaled(nn.Module):
    """A module with parameters of its own, a number among them."""

    def __init__(self):
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.tensor(1.5)), nn.Parameter(torch.zeros(4))

    def forward(self, x):
        return x * self.scale + self.shift


class Branches(nn.Module):
    """A layer that some passes leave out."""

    def __init__(self):
        super().__init__()
        self.used, self.unused = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x):
        return self.used(x)


def flat(*layers: nn.Module, width: int) -> nn.Module:
    return nn.Sequential(*layers, nn.Tanh(), nn.Flatten(), nn.Linear(width, 3))


def conv2d(width: int, **settings) -> nn.Module:
    return flat(nn.Conv2d(2, 4, 3, **settings), width=width)


image, tiny = {"input_shape": (2, 14, 15), "num_outputs": 3}, {"input_shape": (6,), "num_outputs": 3}
numbers = {"input_shape": (7, 2), "num_outputs": 3, "num_tokens": None}
tokens = {"input_shape": (6,), "num_outputs": 3, "num_tokens": TOKENS}
small_lstm = partial(lstm, embedding=3, hidden=5, layers=2)
small_transformer = partial(transformer, width=8, heads=2, layers=1)

REFERENCE = {
    "logistic": Case(partial(logistic, **image), (2, 14, 15)),
    "mlp": Case(partial(mlp, hidden=[12, 7], **image), (2, 14, 15)),
    "tabular_mlp": Case(partial(tabular_mlp, hidden=[6, 4], activation="tanh", dropout=0.0, **tiny), (6,)),
    "lenet": Case(partial(lenet, **image), (2, 14, 15)),
    "cnn": Case(partial(cnn, input_shape=(1, 6, 6), num_outputs=3), (1, 6, 6)),
    "resnet": Case(partial(resnet, width=4, blocks=1, groups=2, **image), (2, 14, 15)),
    "lstm of numbers": Case(partial(small_lstm, per_position=False, **numbers), (7, 2), alone=True),
    "lstm of tokens": Case(partial(small_lstm, per_position=True, **tokens), (6,), tokens=True, alone=True),
    "transformer of numbers": Case(partial(small_transformer, per_position=False, **numbers), (7, 2)),
    "transformer of tokens": Case(partial(small_transformer, per_position=True, **tokens), (6,), tokens=True),
    "lstm adapted": Case(lambda: adapted(small_lstm(per_position=True, **tokens)), (6,), tokens=True, alone=True),
    "transformer adapted": Case(lambda: adapted(small_transformer(per_position=False, **tokens)), (6,), tokens=True),
    "lenet frozen in part": Case(lambda: only(lenet(**image), "conv2.*", "*.bias"), (2, 14, 15)),
}
LAYERS = {
    "strides": Case(lambda: conv2d(4 * 3 * 3, stride=(2, 3)), (2, 7, 10)),
    "dilation": Case(lambda: conv2d(4 * 3 * 6, dilation=(2, 1)), (2, 7, 8)),
    "strides that leave pixels out": Case(lambda: conv2d(4 * 3 * 3, stride=2), (2, 8, 8)),
    "padding of one side": Case(lambda: flat(nn.Conv2d(2, 4, 2, padding="same"), width=4 * 49), (2, 7, 7)),
    **{
        f"padding with {mode}": Case(
            lambda mode=mode: conv2d(4 * 49, padding=1, padding_mode=mode), (2, 7, 7), by_opacus=mode == "zeros"
        )
        for mode in ("zeros", "reflect", "replicate", "circular")
    },
    "without bias": Case(lambda: conv2d(4 * 25, bias=False), (2, 7, 7)),
    "Conv1d": Case(lambda: flat(nn.Conv1d(2, 4, 3, stride=2, padding=2), width=4 * 6), (2, 9)),
    "depthwise": Case(lambda: flat(nn.Conv2d(2, 4, 3, groups=2), width=4 * 25), (2, 7, 7)),
    "Conv3d": Case(lambda: flat(nn.Conv3d(1, 2, 2), width=2 * 8), (1, 3, 3, 3)),
    "GroupNorm": Case(lambda: flat(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), width=4 * 25), (2, 7, 7)),
    "RMSNorm": Case(lambda: flat(nn.RMSNorm(4), width=12), (3, 4), by_opacus=False),
    "positions": Case(lambda: flat(nn.Linear(5, 40), nn.Tanh(), nn.Linear(40, 40), width=120), (3, 5)),
    "padding_idx": Case(
        lambda: flat(nn.Embedding(TOKENS, 4, padding_idx=3), width=24), (6,), tokens=True, by_opacus=False
    ),
    "twice": Case(Twice, (6,), tokens=True),
    "own parameters": Case(
        lambda: nn.Sequential(nn.Linear(5, 4), Scaled(), nn.Tanh(), nn.Linear(4, 3)), (5,), by_opacus=False
    ),
    "PReLU": Case(
        lambda: nn.Sequential(nn.Linear(5, 4), nn.PReLU(), nn.Linear(4, 3)), (5,), by_opacus=False, alone=True
    ),
    "tied": Case(Tied, (6,), tokens=True, by_opacus=False, whole=True),
    "unused": Case(Branches, (4,), by_opacus=False),
    "lenet as a whole": Case(partial(lenet, **image), (2, 14, 15), whole=True),
}
CASES = {**REFERENCE, **LAYERS}


def loss_of(outputs: torch.Tensor) -> torch.Tensor:
    """An example's loss: of class 1, the mean over positions where there are any."""
    losses = (
        -outputs.flatten(1, -2).log_softmax(dim=-1)[..., 1] if outputs.dim() > 2 else -outputs.log_softmax(1)[:, 1:2]
    )
    return losses.mean(dim=1)


@lru_cache(maxsize=1)
def reference(name: str) -> tuple[list[nn.Module], list[torch.Tensor], list[torch.Tensor]]:
    """The clients' models, their examples, and each example's gradient, (EXAMPLES, D)."""
    case = CASES[name]
    models, data = case.models(), [case.examples(EXAMPLES, seed=seed) for seed in range(CLIENTS)]
    rows = [by_opacus(m, x) if case.by_opacus else by_autograd(m, x) for m, x in zip(models, data, strict=True)]
    return case.models(), data, rows


def by_opacus(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    loss_of(GradSampleModule(model, loss_reduction="sum")(x)).sum().backward()
    return torch.cat([p.grad_sample.reshape(len(x), -1) for p in model.parameters() if p.requires_grad], dim=1)


def by_autograd(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    learns = [p for p in model.parameters() if p.requires_grad]
    rows = []
    for example in x:
        found = torch.autograd.grad(loss_of(model(example[None])).sum(), learns, allow_unused=True)
        parts = [torch.zeros_like(p) if g is None else g for p, g in zip(learns, found, strict=True)]
        rows.append(torch.cat([part.reshape(-1) for part in parts]))
    return torch.stack(rows)


def played(name: str, sizes: list[int]) -> list[int]:
    """Of these clients, those that a stack of the case may have."""
    return [max(sizes)] if CASES[name].alone else sizes


def stacked(name: str, clients: int, *, by_example: bool, unfolded: bool, whole: bool) -> StackedModel:
    models, _, _ = reference(name)
    model = StackedModel(models[0], clients=clients, by_example=by_example, unfolded=unfolded, whole=whole, wide=())
    vectors = [torch.cat([p.detach().reshape(-1) for p in m.parameters() if p.requires_grad]) for m in models]
    model.begin(torch.stack(vectors[:clients]), {})
    return model


def close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """Client by client, relative to the length of what is expected."""
    return bool(((found - expected).norm(dim=1) <= TOLERANCE * expected.norm(dim=1) + 1e-7).all())


def play(model: StackedModel, name: str, sizes: list[int]) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """After the backward pass: the mask (K, B), the losses (K, B), and the rows of the examples in it."""
    _, data, rows = reference(name)
    batch = max(sizes)
    mask = torch.arange(batch) < torch.tensor(sizes)[:, None]
    x = torch.cat([data[k][[*range(size), *[0] * (batch - size)]] for k, size in enumerate(sizes)])
    losses = torch.where(mask, loss_of(model(x)).view(mask.shape), 0.0)
    losses.sum().backward()
    return mask, losses, [rows[k][:size] for k, size in enumerate(sizes)]


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=6)
@given(sizes=SIZES, unfolded=st.booleans(), norm=st.sampled_from([0.1, 1.0, 100.0]))
def test_clipped_sums_are_those_of_single_gradients(name, sizes, unfolded, norm):
    sizes = played(name, sizes)
    model = stacked(name, len(sizes), by_example=True, unfolded=unfolded, whole=CASES[name].whole)
    mask, _, rows = play(model, name, sizes)
    norms = model.square_norms().sqrt()
    lengths = torch.zeros_like(norms)
    lengths[mask] = torch.cat([row.norm(dim=1) for row in rows])
    assert torch.allclose(norms, lengths, rtol=TOLERANCE, atol=1e-6)
    factors = torch.where(mask, (norm / (norms + 1e-6)).clamp(max=1.0), 0.0)
    found = torch.empty(len(sizes), rows[0].shape[1])
    model.gradients(factors, into=found)
    expected = [row * (norm / (row.norm(dim=1, keepdim=True) + 1e-6)).clamp(max=1.0) for row in rows]
    assert close(found, torch.stack([part.sum(dim=0) for part in expected]))


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=4)
@given(sizes=SIZES, unfolded=st.booleans())
def test_plain_sums_are_those_of_single_gradients(name, sizes, unfolded):
    sizes = played(name, sizes)
    model = stacked(name, len(sizes), by_example=False, unfolded=unfolded, whole=CASES[name].whole)
    _, _, rows = play(model, name, sizes)
    found = torch.empty(len(sizes), rows[0].shape[1])
    model.gradients(None, into=found)
    assert close(found, torch.stack([row.sum(dim=0) for row in rows]))


@pytest.mark.parametrize("name", ["lenet", "transformer of tokens", "twice"])
def test_a_pass_leaves_nothing_for_the_next(name):
    model = stacked(name, 2, by_example=True, unfolded=True, whole=False)
    play(model, name, [5, 5])
    play(model, name, [1, 3])
    after_another = model.square_norms()
    fresh = stacked(name, 2, by_example=True, unfolded=True, whole=False)
    play(fresh, name, [1, 3])
    assert torch.equal(after_another, fresh.square_norms())


def test_an_example_that_is_discarded_counts_as_zero_whatever_was_there():
    for name in ("lenet", "twice", "depthwise", "GroupNorm"):
        model = stacked(name, 2, by_example=True, unfolded=True, whole=False)
        _, _, rows = play(model, name, [3, 2])
        model.square_norms()
        bad = torch.tensor([[False, True, False], [False, False, True]])
        model.discard(bad)
        found = torch.empty(2, rows[0].shape[1])
        model.gradients(torch.ones(2, 3), into=found)
        assert close(found, torch.stack([rows[0][[0, 2]].sum(dim=0), rows[1].sum(dim=0)]))


def test_gradients_of_no_parameter_are_made_for_frozen_layers():
    model = stacked("lenet frozen in part", 2, by_example=True, unfolded=True, whole=False)
    assert set(model.shapes) == {"conv1.bias", "conv2.weight", "conv2.bias", "fc1.bias", "fc2.bias"}


def test_each_layers_method_is_told():
    torch.manual_seed(0)
    parts = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.PReLU(), nn.Linear(4, 4).requires_grad_(False))
    model = StackedModel(parts, clients=1, by_example=True, unfolded=True, whole=False, wide=())
    assert model.methods == {"0": "book-keeping", "1": "book-keeping", "2": "vmap"}


def test_a_token_that_an_embedding_does_not_have_is_refused():
    """By itself, torch would read another client's row."""
    model = stacked("padding_idx", 2, by_example=True, unfolded=True, whole=False)
    for token in (TOKENS, -1):
        with pytest.raises(IndexError, match=f"none of the {TOKENS}"):
            model(torch.full((2, 6), token))
