"""Convolutions of K clients: batched products of patches, or torch's own convolution, client after client.

Patches cost memory and let all clients share one product; torch's own is faster where the arithmetic is the cost.
"""

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from .layer import Stack
from .multiplying import MultiplyingLayer
from .products import Products


class StackedConvolution(MultiplyingLayer):
    """``nn.Conv1d`` and ``nn.Conv2d`` with one group, over (K B, C, ...).

    Args:
        unfolded: whether it is computed as a product of patches.
    """

    def __init__(self, stack: Stack, layer: nn.Conv1d | nn.Conv2d, *, unfolded: bool) -> None:
        super().__init__(stack, layer)
        self.unfolded = unfolded
        self.stride, self.dilation, self.kernel = layer.stride, layer.dilation, layer.kernel_size
        self._padding = layer._reversed_padding_repeated_twice
        self._padding_mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        self._ready: dict[str, torch.Tensor] = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if any(self._padding):
            x = functional.pad(x, self._padding, mode=self._padding_mode)
        convolve = _Unfolded if self.unfolded else _Native
        result: torch.Tensor = convolve.apply(x, self.stack.tether, self)
        return result

    @property
    def took_part(self) -> bool:
        return bool(self._ready) or super().took_part

    def forget(self) -> None:
        super().forget()
        self._ready = {}

    def gradients(self, weights: torch.Tensor | None) -> dict[str, torch.Tensor]:
        return self._ready or super().gradients(weights)

    def in_shape(self, gradient: torch.Tensor) -> torch.Tensor:
        outputs, inputs, *kernel = self.shapes["weight"]
        return gradient.reshape(-1, outputs, *kernel, inputs).movedim(-1, 2)

    def add_gradients(self, found: dict[str, torch.Tensor]) -> None:
        """What a pass of torch's own convolution found, (K, *shape) each."""
        before = self._ready
        self._ready = {name: before[name] + g if before else g for name, g in found.items()}

    def patches(self, x: torch.Tensor) -> tuple[torch.Tensor, tuple[int, ...]]:
        """(K, B, T, I) of what each of T places sees, with I = kernel x channels; and the places' shape."""
        places = tuple(
            (size - span * (kernel - 1) - 1) // stride + 1
            for size, kernel, stride, span in zip(x.shape[2:], self.kernel, self.stride, self.dilation, strict=True)
        )
        batch, channel, *spatial = x.stride()
        jumps = [s * stride for s, stride in zip(spatial, self.stride, strict=True)]
        spans = [s * span for s, span in zip(spatial, self.dilation, strict=True)]
        seen = x.as_strided(
            (len(x), *places, *self.kernel, x.shape[1]), (batch, *jumps, *spans, channel), x.storage_offset()
        )
        clients = self.stack.clients
        return seen.reshape(clients, len(x) // clients, math.prod(places), -1), places

    def fold(self, patches: torch.Tensor, shape: torch.Size, places: Sequence[int]) -> torch.Tensor:
        """The adjoint of ``patches``: sums (N, places, kernel, C) back into (N, C, ...)."""
        folded = patches.new_zeros(shape[0], *shape[2:], shape[1])
        parts = patches.reshape(shape[0], *places, *self.kernel, shape[1])
        settings = list(zip(self.dilation, self.stride, places, strict=True))
        for where in product(*map(range, self.kernel)):
            ends: Any = tuple(
                slice(at * span, at * span + stride * (count - 1) + 1, stride)
                for at, (span, stride, count) in zip(where, settings, strict=True)
            )
            seen: Any = (slice(None),) * (1 + len(places)) + where
            folded[(slice(None), *ends)] += parts[seen]
        return folded.movedim(-1, 1)

    def matrix(self) -> torch.Tensor:
        """The weights as they meet patches, (K, O, I)."""
        return self.values["weight"].movedim(2, -1).flatten(2)


class _Unfolded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, tether: torch.Tensor, layer: StackedConvolution) -> torch.Tensor:
        patches, places = layer.patches(x)
        weight, bias = layer.matrix(), layer.values.get("bias")
        rows = patches.flatten(1, 2)
        outputs = torch.bmm(rows, weight.mT) if bias is None else torch.baddbmm(bias[:, None], rows, weight.mT)
        ctx.layer, ctx.places, ctx.shape = layer, places, x.shape
        ctx.save_for_backward(patches, weight)
        return outputs.view(len(x), *places, -1).movedim(-1, 1)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, None, None]:
        patches, weight = ctx.saved_tensors
        grad = grads[0].movedim(1, -1).reshape(*patches.shape[:3], -1)
        ctx.layer.keep(Products(patches, grad))
        if not ctx.needs_input_grad[0]:
            return None, None, None
        return ctx.layer.fold(torch.bmm(grad.flatten(1, 2), weight), ctx.shape, ctx.places), None, None


class _Native(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, tether: torch.Tensor, layer: StackedConvolution) -> torch.Tensor:
        ctx.layer = layer
        weight, bias = layer.values["weight"], layer.values.get("bias")
        ctx.save_for_backward(x, weight)
        biases = [None] * len(weight) if bias is None else bias.unbind()
        outputs = [
            torch.convolution(part, w, b, *_settings(layer))
            for part, w, b in zip(x.chunk(len(weight)), weight.unbind(), biases, strict=True)
        ]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        layer: StackedConvolution = ctx.layer
        if layer.stack.by_example:
            patches, _ = layer.patches(x)
            layer.keep(Products(patches, grads[0].movedim(1, -1).reshape(*patches.shape[:3], -1)))
        biased, plain = "bias" in layer.shapes, not layer.stack.by_example
        wanted = [ctx.needs_input_grad[0], plain, plain and biased]
        parts = [
            torch.ops.aten.convolution_backward(grad, part, w, [len(w)], *_settings(layer), wanted)
            for grad, part, w in zip(grads[0].chunk(len(weight)), x.chunk(len(weight)), weight, strict=True)
        ]
        of_inputs, of_weights, of_biases = zip(*parts, strict=True)
        if plain:
            found = {"weight": torch.stack(of_weights)}
            layer.add_gradients({**found, "bias": torch.stack(of_biases)} if biased else found)
        return torch.cat(of_inputs) if wanted[0] else None, None, None


def _settings(layer: StackedConvolution) -> tuple[Any, ...]:
    nothing = [0] * len(layer.kernel)
    return layer.stride, nothing, layer.dilation, False, nothing, 1
