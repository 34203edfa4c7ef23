"""A model with the parameters of K clients: the same forward pass, over layers that were exchanged.

Every layer with parameters that learn is replaced by a stacked one; all the rest of the model sees the clients'
examples as one batch, and never looks across examples (``trial`` makes sure of it).
"""

import copy
import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from ..local_steps import Pristine
from .anything import StackedModule
from .convolution import StackedConvolution
from .embedding import StackedEmbedding
from .layer import Stack, StackedLayer
from .linear import StackedLinear
from .normalisation import StackedNorm
from .wide import WideLinear


class StackedModel:
    """K clients' models in one.

    The parameters that learn are one matrix, (K, D): row k is client k's vector, in the order of ``named_parameters``.
    Those in ``wide``, name -> layer, are no part of it.

    Args:
        model: copied, never changed.
        clients: K.
        by_example: whether gradients will be clipped example by example.
        unfolded: whether convolutions are products of patches, or torch's own.
        whole: whether the model is mapped over examples as it is, because its layers cannot be exchanged.
        wide: Linear layers whose weights are kept as a shared one and factors; they have no columns then.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        clients: int,
        by_example: bool,
        unfolded: bool,
        whole: bool,
        wide: Collection[str],
    ) -> None:
        self.stack = Stack(clients=clients, by_example=by_example)
        self.layers: dict[str, StackedLayer[Any]] = {}
        self._unfolded, self._wide = unfolded, wide
        own = copy.deepcopy(model)
        self.body = self._exchange("", own) if not whole else self._whole(own)
        inside = [layer.inside for layer in self.layers.values() if isinstance(layer, StackedModule)]
        self._pristine = [Pristine(module, travelling=()) for module in (self.body, *inside)]
        wide_layers = {name: layer for name, layer in self.layers.items() if isinstance(layer, WideLinear)}
        self.wide = {_joined(name, "weight"): layer for name, layer in wide_layers.items()}
        columns = {_joined(prefix, name) for prefix, layer in self.layers.items() for name in layer.shapes}
        self.shapes = {name: p.shape for name, p in model.named_parameters() if name in columns}

    @property
    def methods(self) -> dict[str, str]:
        """Layer -> how its examples' norms come about."""
        return {name: layer.method for name, layer in self.layers.items()}

    def begin(self, parameters: torch.Tensor, values: Mapping[str, torch.Tensor]) -> None:
        """Train these parameters, (K, D); views of them, so that an optimizer's steps show.

        Args:
            values: name -> parameter that all clients start from, for those without columns.
        """
        for pristine in self._pristine:
            pristine.restore()
        self.stack.clients = len(parameters)
        self.body.train()
        found = dict(self.named(parameters))
        for prefix, layer in self.layers.items():
            layer.values = {name: found[_joined(prefix, name)] for name in layer.shapes}
        for name, layer in self.wide.items():
            layer.begin(values[name])

    @property
    def is_intact(self) -> bool:
        """Whether passes have left frozen parameters and buffers as they were."""
        return all(pristine.is_intact for pristine in self._pristine)

    def forget(self) -> None:
        """Drop what earlier passes left."""
        for layer in self.layers.values():
            layer.forget()

    def named(self, rows: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
        """Name -> (K, *shape), views of ``rows`` (K, D)."""
        parts = rows.split([math.prod(shape) for shape in self.shapes.values()], dim=1)
        for (name, shape), part in zip(self.shapes.items(), parts, strict=True):
            yield name, part.unflatten(1, shape) if shape else part.squeeze(1)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs for (K B, ...) examples; what earlier passes left is forgotten."""
        self.forget()
        outputs: torch.Tensor = self.body(x)
        return outputs

    @torch.no_grad()
    def square_norms(self) -> torch.Tensor:
        """Squared L2 norm of each example's gradient, (K, B), after a backward pass from the sum of the losses."""
        return torch.stack([layer.square_norms() for layer in self._used()]).sum(dim=0)

    @torch.no_grad()
    def square_norms_by_layer(self) -> dict[str, torch.Tensor]:
        """Layer -> squared L2 norm of its part of each example's gradient, (K, B)."""
        return {name: layer.square_norms() for name, layer in self.layers.items() if layer.took_part}

    @torch.no_grad()
    def discard(self, bad: torch.Tensor) -> None:
        """Let these examples, a mask (K, B), count as zero."""
        for layer in self._used():
            layer.discard(bad)

    @torch.no_grad()
    def gradients(self, weights: Mapping[str, torch.Tensor] | torch.Tensor | None, *, into: torch.Tensor) -> None:
        """Sum of the examples' gradients, ``weights`` (K, B) or all 1, written to ``into`` (K, D).

        A mapping has weights for every layer that took part.
        """
        rooms = dict(self.named(into))
        found: Mapping[str, torch.Tensor] = {
            _joined(prefix, name): gradient
            for prefix, layer in self.layers.items()
            if layer.took_part
            for name, gradient in layer.gradients(weights[prefix] if isinstance(weights, Mapping) else weights).items()
        }
        for name, room in rooms.items():
            if name in found:
                room.copy_(found[name])
            else:
                room.zero_()

    def _used(self) -> list[StackedLayer[Any]]:
        return [layer for layer in self.layers.values() if layer.took_part]

    def _whole(self, model: nn.Module) -> nn.Module:
        self.layers[""] = StackedModule(self.stack, model)
        return self.layers[""]

    def _exchange(self, name: str, module: nn.Module) -> nn.Module:
        """``module``, or what takes its place."""
        if not any(p.requires_grad for p in module.parameters()):
            return module
        if any(p.requires_grad for p in module.parameters(recurse=False)):
            self.layers[name] = self._stacked(name, module)
            return self.layers[name]
        for child_name, child in module.named_children():
            setattr(module, child_name, self._exchange(_joined(name, child_name), child))
        return module

    def _stacked(self, name: str, layer: nn.Module) -> StackedLayer[Any]:
        if all(p.requires_grad for p in layer.parameters()):
            kind = type(layer)
            if kind is nn.Linear:
                kinds = WideLinear if name in self._wide else StackedLinear
                return kinds(self.stack, layer)  # type: ignore[arg-type]
            if kind in (nn.Conv1d, nn.Conv2d) and layer.groups == 1:
                return StackedConvolution(self.stack, layer, unfolded=self._unfolded)  # type: ignore[arg-type]
            if kind in (nn.GroupNorm, nn.LayerNorm, nn.RMSNorm):
                return StackedNorm(self.stack, layer)  # type: ignore[arg-type]
            if isinstance(layer, nn.Embedding) and not layer.scale_grad_by_freq and not layer.sparse:
                return StackedEmbedding(self.stack, layer)
        return StackedModule(self.stack, layer)


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
