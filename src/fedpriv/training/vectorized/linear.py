"""Linear layers of K clients: one batched product."""

from typing import Any

import torch

from .multiplying import MultiplyingLayer
from .products import Products


class StackedLinear(MultiplyingLayer):
    """``nn.Linear`` over (K B, ..., I)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = _Linear.apply(x, self.stack.tether, self)
        return result


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, tether: torch.Tensor, layer: StackedLinear) -> torch.Tensor:
        clients = layer.stack.clients
        rows = x.reshape(clients, -1, x.shape[-1])
        weight, bias = layer.values["weight"], layer.values.get("bias")
        outputs = torch.bmm(rows, weight.mT) if bias is None else torch.baddbmm(bias[:, None], rows, weight.mT)
        ctx.layer, ctx.shape = layer, x.shape
        ctx.save_for_backward(rows, weight)
        return outputs.reshape(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, None, None]:
        rows, weight = ctx.saved_tensors
        clients, batch = len(rows), ctx.shape[0] // len(rows)
        grad = grads[0].reshape(clients, rows.shape[1], -1)
        ctx.layer.keep(Products(rows.unflatten(1, (batch, -1)), grad.unflatten(1, (batch, -1))))
        return (torch.bmm(grad, weight).view(ctx.shape) if ctx.needs_input_grad[0] else None), None, None
