"""A small network's gradient on real digits, as an adversary would read it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from fedpriv.attacks.reconstruction import GradientObservation, find_layers

SHAPE = (1, 8, 8)


@pytest.fixture(scope="session")
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """All 1,797 images in [0, 1], and their labels."""
    found = load_digits()
    return torch.tensor(found.images[:, None] / 16, dtype=torch.float32), torch.tensor(found.target)


@pytest.fixture
def network() -> Callable[..., nn.Module]:
    """A small network; tanh, unless asked otherwise, so that its gradient is smooth."""

    def make(activation: Callable[[], nn.Module] = nn.Tanh, seed: int = 0) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), activation(), nn.Linear(32, 10)).eval()

    return make


@pytest.fixture
def observe() -> Callable[..., GradientObservation]:
    """The gradient of a batch's mean loss; with ``noise`` of that standard deviation, of a gradient of length 1."""

    def make(
        model: nn.Module, x: torch.Tensor, y: torch.Tensor, *, noise: float = 0.0, **more: Any
    ) -> GradientObservation:
        names = [name for name, _ in model.named_parameters()]
        parts = torch.autograd.grad(functional.cross_entropy(model(x), y), list(model.parameters()))
        gradient = {name: part.double() for name, part in zip(names, parts, strict=True)}
        if noise:
            rng, length = np.random.default_rng(0), float(torch.cat([g.reshape(-1) for g in gradient.values()]).norm())
            gradient = {
                name: g / length + torch.from_numpy(rng.normal(scale=noise, size=g.shape))
                for name, g in gradient.items()
            }
        first, last = find_layers(model, SHAPE)
        given: dict[str, Any] = {
            "gradient": gradient,
            "model": model,
            "batch_size": len(x),
            "input_shape": SHAPE,
            "darkest": torch.zeros(1, 1, 1),
            "brightest": torch.ones(1, 1, 1),
            "example_clip": None,
            "client_clip": None,
            "input_layer": first,
            "output_layer": last,
        }
        return GradientObservation(**{**given, **more})

    return make
