"""Wide Linear layers under plain SGD: what K clients' steps have changed is kept as thin factors.

After steps with gradients ``g_s^T a_s`` a client's weight is ``W - lr sum_s g_s^T a_s``. While the examples seen are
few next to the layer's width, applying the factors is cheaper than writing the weight, and the product with W, which
all clients share, is one for all of them. The update is multiplied out once, at the end.
"""

from typing import Any

import torch
from torch import nn

from .layer import Stack, StackedLayer
from .linear import StackedLinear
from .multiplying import MultiplyingLayer
from .products import Products

_LEAST_NUMBERS = 2**18  # of a weight that is worth it


def is_wide(layer: StackedLayer[Any]) -> bool:
    """Whether it is a layer that this is for; it must have seen a pass."""
    linear = isinstance(layer, StackedLinear) and layer.positions == 1
    return linear and layer.shapes["weight"].numel() >= _LEAST_NUMBERS


class WideLinear(MultiplyingLayer):
    """``nn.Linear`` over (K B, I) whose weight is never written; its bias is as any other parameter."""

    def __init__(self, stack: Stack, layer: nn.Linear) -> None:
        super().__init__(stack, layer)
        self.width = self.shapes.pop("weight")
        self.begin(layer.weight.detach())

    def begin(self, base: torch.Tensor) -> None:
        """Start from this weight, (O, I), for every client."""
        self.base = base
        # of the steps so far: (K, R, O) and (K, R, I), whose products are the clients' changes of the weight
        self.factors: tuple[torch.Tensor, torch.Tensor] | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = _Wide.apply(x, self.stack.tether, self)
        return result

    def gradients(self, weights: torch.Tensor | None) -> dict[str, torch.Tensor]:
        return {"bias": self._products().bias_gradient(weights)} if "bias" in self.shapes else {}

    def step(self, lr: float) -> None:
        """What plain SGD does after a backward pass; ``factors`` then has its examples, too."""
        if self.took_part:
            products = self._products()
            changes, inputs = products.grads.flatten(1, 2) * -lr, products.inputs.flatten(1, 2)
            if self.factors is not None:
                changes = torch.cat([self.factors[0], changes], dim=1)
                inputs = torch.cat([self.factors[1], inputs], dim=1)
            self.factors = changes, inputs

    def update(self) -> torch.Tensor:
        """The clients' changes of the weight, (K, O, I)."""
        if self.factors is None:
            return self.base.new_zeros(self.stack.clients, *self.width)
        changes, inputs = self.factors
        return torch.bmm(changes.mT, inputs)


class _Wide(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, tether: torch.Tensor, layer: WideLinear) -> torch.Tensor:
        ctx.layer = layer
        clients = layer.stack.clients
        rows = x.reshape(clients, -1, x.shape[-1])
        outputs = (x @ layer.base.mT).view(clients, rows.shape[1], -1)
        if layer.factors is not None:
            changes, inputs = layer.factors
            outputs = outputs.baddbmm(torch.bmm(rows, inputs.mT), changes)
        if "bias" in layer.values:
            outputs = outputs + layer.values["bias"][:, None]
        ctx.save_for_backward(rows)
        return outputs.flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, None, None]:
        (rows,) = ctx.saved_tensors
        layer: WideLinear = ctx.layer
        grad = grads[0].view(*rows.shape[:2], -1)
        layer.keep(Products(rows.detach()[:, :, None], grad[:, :, None]))
        if not ctx.needs_input_grad[0]:
            return None, None, None
        of_inputs = (grads[0] @ layer.base).view(rows.shape)
        if layer.factors is not None:
            changes, inputs = layer.factors
            of_inputs = of_inputs.baddbmm(torch.bmm(grad, changes.mT), inputs)
        return of_inputs.flatten(0, 1), None, None
