"""What one example may do to a sum of clipped gradients, whatever is in it: rounding, NaN and infinity included."""

import math

import pytest
import torch
from torch import nn

from fedpriv.training.vectorized.model import StackedModel
from fedpriv.training.vectorized.products import Products

MOST = 1 + 1e-4  # clipping norms: rounding comes on top
EXAMPLES, TOKENS = 6, 5


def clipped_sum(model: StackedModel, x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """As the trainer clips, to norm 1; the loss is the outputs' inner product with ``weights`` (n, ...)."""
    (model(x).flatten(1) * weights.flatten(1)).sum().backward()
    norms = model.square_norms().sqrt()
    bad = ~torch.isfinite(norms)
    model.discard(bad)
    found = torch.empty(1, sum(shape.numel() for shape in model.shapes.values()))
    model.gradients(torch.where(bad, 0.0, (1 / (norms + 1e-6)).clamp(max=1.0)), into=found)
    return found


def stack(layer: nn.Module, *, unfolded: bool = True) -> StackedModel:
    model = StackedModel(layer, clients=1, by_example=True, unfolded=unfolded, whole=False, wide=())
    model.begin(torch.cat([p.detach().flatten() for p in layer.parameters()])[None], {})
    return model


def moved(model: StackedModel, x: torch.Tensor, weights: torch.Tensor) -> float:
    """By how much the last example moves the sum, wherever it stands."""
    without = clipped_sum(model, x[:-1], weights[:-1])
    places = []
    for place in (0, len(x) // 2, len(x) - 1):
        order = [*range(place), len(x) - 1, *range(place, len(x) - 1)]
        with_it = clipped_sum(model, x[order], weights[order])
        places.append(float((with_it - without).norm()))
    return max(places)


def cancelling(n: int, positions: int, *shape: int, size: float) -> torch.Tensor:
    """Ordinary numbers (n, positions, *shape), but in the last row, which repeats itself, ``size`` times as large."""
    x = torch.randn(n, positions, *shape, generator=torch.Generator().manual_seed(1)) / 10
    half = 10 * size * x[-1, : positions // 2]
    x[-1] = torch.cat([half, half])
    return x


def opposite(n: int, positions: int, width: int) -> torch.Tensor:
    """Weights of outputs whose halves cancel in the last row."""
    weights = torch.randn(n, positions, width, generator=torch.Generator().manual_seed(2)) / 10
    half = 10 * weights[-1, : positions // 2]
    weights[-1] = torch.cat([half, -half])
    return weights


SIZES = [1.0, 1e3, 1e6, 1e10, 1e25]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("width", [64, 8])  # by the Gram matrix of positions; by gradients that are written out
def test_positions_that_cancel_hide_nothing_in_linear_layers(width, size):
    x, weights = cancelling(EXAMPLES, 4, width, size=size), opposite(EXAMPLES, 4, width)
    assert moved(stack(nn.Linear(width, width)), x, weights) <= MOST


@pytest.mark.parametrize("size", SIZES)
def test_tokens_that_cancel_hide_nothing_in_embeddings(size):
    x = torch.arange(4).repeat(EXAMPLES, 1)
    x[-1] = 1
    weights = opposite(EXAMPLES, 4, 3)
    weights[-1] *= size
    assert moved(stack(nn.Embedding(TOKENS, 3)), x, weights) <= MOST


@pytest.mark.parametrize("unfolded", [True, False])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [2, 40])
def test_places_that_cancel_hide_nothing_in_convolutions(channels, size, unfolded):
    x = cancelling(EXAMPLES, 4, channels, size=size).mT.contiguous()
    weights = opposite(EXAMPLES, 4, channels).mT
    assert moved(stack(nn.Conv1d(channels, channels, 1), unfolded=unfolded), x, weights) <= MOST


@pytest.mark.parametrize("width", [64, 8])
def test_nor_do_they_beside_an_example_that_is_dropped(width):
    x, weights = cancelling(EXAMPLES, 4, width, size=1e6), opposite(EXAMPLES, 4, width)
    x[0] = math.nan
    assert moved(stack(nn.Linear(width, width)), x, weights) <= MOST


def test_planted_fault_norms_that_are_too_small_are_caught(monkeypatch):
    """Without the floor, what cancels exactly has norm zero, and its rounding errors are sent unclipped."""
    from fedpriv.training.vectorized import products

    monkeypatch.setattr(products, "no_less", lambda squares, lengths: squares.clamp(min=0))
    x, weights = cancelling(EXAMPLES, 4, 64, size=1e10), opposite(EXAMPLES, 4, 64)
    assert moved(stack(nn.Linear(64, 64)), x, weights) > 100


def test_the_floor_leaves_ordinary_norms_alone():
    """A thousand positions of random sign cancel to a thirtieth."""
    coins = torch.Generator().manual_seed(0)
    inputs, grads = (torch.randn(1, 3, 1000, 300, generator=coins) for _ in range(2))
    products = Products(inputs, grads)
    exact = torch.einsum("kbti,kbto->kbio", inputs.double(), grads.double()).square().sum(dim=(2, 3))
    from fedpriv.training.vectorized.products import _by_gram

    assert torch.allclose(_by_gram(inputs, grads).double(), exact, rtol=1e-6)
    assert torch.allclose(products.square_norms(bias=False).double(), exact, rtol=1e-5)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e25, torch.finfo(torch.float32).max])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(4, 3), (4,)),
        (nn.Linear(4, 3), (5, 4)),
        (nn.Conv2d(2, 3, 2), (2, 3, 3)),
        (nn.Sequential(nn.Conv2d(2, 4, 2), nn.GroupNorm(2, 4)), (2, 3, 3)),
        (nn.Sequential(nn.Linear(4, 4), nn.PReLU(), nn.LayerNorm(4)), (4,)),
    ],
    ids=["linear", "positions", "convolution", "group norm", "vmap and layer norm"],
)
def test_what_is_not_finite_counts_as_zero_and_harms_nobody(layer, shape, value):
    x = torch.randn(EXAMPLES, *shape, generator=torch.Generator().manual_seed(0))
    x[-1].view(-1)[0] = value
    weights = torch.ones_like(layer(x))
    model = stack(layer)
    without = clipped_sum(model, x[:-1], weights[:-1])
    with_it = clipped_sum(model, x, weights)
    assert torch.isfinite(with_it).all()
    assert float((with_it - without).norm()) <= MOST
    if not math.isfinite(value):
        assert torch.allclose(with_it, without, rtol=1e-5, atol=1e-6)
