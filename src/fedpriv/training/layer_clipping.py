"""Clipping one example's gradient layer by layer: each layer's part to a norm of its own."""

import math
from collections.abc import Iterable, Mapping
from itertools import groupby

import torch

SLACK = 1e-6
"""Of a norm, against division by zero; as in Opacus, so that both engines clip to the same."""


def layer_of(parameter: str) -> str:
    """The module that a parameter is of, by its name; of one that lies at the top, the parameter itself."""
    return parameter.rpartition(".")[0] or parameter


def layers_of(parameters: Iterable[str]) -> list[str]:
    """Layers in the order of their first parameter, each once."""
    return list(dict.fromkeys(layer for layer, _ in groupby(parameters, key=layer_of)))


def are_apart(stacked: Iterable[str], parameters: Iterable[str]) -> bool:
    """Whether every layer that an engine knows by itself is one layer here, and all are known.

    Args:
        stacked: the engine's names of them; an empty one: the whole model.
        parameters: names of all that learn.
    """
    return set(layers_of(parameters)) == set(stacked)


def clip_factors(norms: torch.Tensor, bounds: torch.Tensor | float) -> torch.Tensor:
    """What gradients of these L2 norms are multiplied by, so that none is longer than its bound."""
    return (bounds / (norms + SLACK)).clamp(max=1.0)


def clip_by_layer(rows: Mapping[str, torch.Tensor], layer_norms: Mapping[str, float]) -> torch.Tensor:
    """Scale each example's gradient in place, layer by layer.

    Args:
        rows: parameter -> every example's finite gradient, (B, ...).
        layer_norms: layer -> L2 bound; of every layer.

    Returns:
        bool (B,): whose gradient was longer than its bound in any layer.
    """
    clipped = []
    for layer, names in _by_layer(rows).items():
        parts = [rows[name].reshape(len(rows[name]), math.prod(rows[name].shape[1:])) for name in names]
        norms = torch.linalg.vector_norm(torch.stack([part.norm(dim=1) for part in parts]), dim=0)
        factors = clip_factors(norms, layer_norms[layer])
        for name in names:
            rows[name].mul_(factors.reshape(-1, *[1] * (rows[name].dim() - 1)))
        clipped.append(norms > layer_norms[layer])
    return torch.stack(clipped).any(dim=0)


def _by_layer(parameters: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in parameters:
        found.setdefault(layer_of(name), []).append(name)
    return found
