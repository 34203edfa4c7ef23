"""Norm layers of K clients: what is normalised has no parameters, and scale and shift are each client's own."""

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from .layer import Stack
from .rows import RowsLayer


class StackedNorm(RowsLayer):
    """``nn.GroupNorm`` over (K B, C, ...), ``nn.LayerNorm`` and ``nn.RMSNorm`` over (K B, ..., *shape)."""

    method = "book-keeping"

    def __init__(self, stack: Stack, layer: nn.GroupNorm | nn.LayerNorm | nn.RMSNorm) -> None:
        super().__init__(stack, layer)
        self._eps = layer.eps
        self._groups = layer.num_groups if isinstance(layer, nn.GroupNorm) else None
        self._centred = not isinstance(layer, nn.RMSNorm)
        self.width = math.prod(self.shapes["weight"])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self._groups is not None:
            normal = functional.group_norm(x, self._groups, eps=self._eps or 0.0)
        elif self._centred:
            normal = functional.layer_norm(x, self.shapes["weight"], eps=self._eps or 0.0)
        else:
            normal = functional.rms_norm(x, list(self.shapes["weight"]), eps=self._eps)
        result: torch.Tensor = _Affine.apply(normal, self.stack.tether, self)
        return result

    def split(self, x: torch.Tensor) -> torch.Tensor:
        """As (K, B, positions, width, positions): a norm's width comes first after the batch, or last."""
        clients = self.stack.clients
        if self._groups is not None:
            return x.reshape(clients, len(x) // clients, 1, self.width, -1)
        return x.reshape(clients, len(x) // clients, -1, self.width, 1)


class _Affine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, tether: torch.Tensor, layer: StackedNorm) -> torch.Tensor:
        weight = layer.values["weight"].reshape(layer.stack.clients, 1, 1, -1, 1)
        ctx.layer = layer
        ctx.save_for_backward(x, weight)
        result = layer.split(x) * weight
        if "bias" in layer.values:
            result = result + layer.values["bias"].reshape(weight.shape)
        return result.view(x.shape)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        layer: StackedNorm = ctx.layer
        grad = layer.split(grads[0])
        shapes = layer.shapes
        rows = {"weight": (layer.split(x) * grad).sum(dim=(2, 4)).unflatten(2, shapes["weight"])}
        if "bias" in shapes:
            rows["bias"] = grad.sum(dim=(2, 4)).unflatten(2, shapes["bias"])
        layer.keep(rows)
        return (grad * weight).view(x.shape) if ctx.needs_input_grad[0] else None, None, None
