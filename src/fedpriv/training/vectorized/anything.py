"""Any other module of K clients, by nested vmap: over clients, and within each over its examples."""

from typing import Any

import torch
from torch import nn
from torch.func import functional_call, vjp, vmap

from .layer import Stack
from .rows import RowsLayer


class StackedModule(RowsLayer):
    """A module that takes one tensor and returns one, examples first; every example's gradient is written out."""

    method = "vmap"

    def __init__(self, stack: Stack, layer: nn.Module) -> None:
        super().__init__(stack, layer)
        self._inside = (layer,)  # in a tuple, no submodule: its parameters are not this stack's
        self._learns = [name for name, p in layer.named_parameters() if p.requires_grad]
        self.shapes = {name: p.shape for name, p in layer.named_parameters() if p.requires_grad}

    @property
    def inside(self) -> nn.Module:
        """The module itself."""
        return self._inside[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = _Mapped.apply(x, self.stack.tether, self)
        return result

    def one(self, values: dict[str, torch.Tensor], example: torch.Tensor) -> torch.Tensor:
        """The module's output for one example, by these parameters."""
        output: torch.Tensor = functional_call(self.inside, values, (example[None],))
        return output[0]


class _Mapped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, tether: torch.Tensor, layer: StackedModule) -> torch.Tensor:
        clients = layer.stack.clients
        examples = x.reshape(clients, len(x) // clients, *x.shape[1:])
        ctx.layer, ctx.values, ctx.coins = layer, layer.values, torch.get_rng_state()
        ctx.save_for_backward(examples)
        outputs = vmap(vmap(layer.one, in_dims=(None, 0), randomness="different"), randomness="different")(
            layer.values, examples
        )
        return outputs.flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, None, None]:
        (examples,) = ctx.saved_tensors
        layer: StackedModule = ctx.layer
        differentiable = examples.is_floating_point()

        def pulled_back(
            values: dict[str, torch.Tensor], example: torch.Tensor, grad: torch.Tensor
        ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
            if differentiable:
                pull = vjp(layer.one, values, example)[1]
                found, of_example = pull(grad)
                return found, of_example
            pull = vjp(lambda learned: layer.one(learned, example), values)[1]
            return pull(grad)[0], grad.new_zeros(())

        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(ctx.coins)  # the same units dropped as in the forward pass
            inner = vmap(pulled_back, in_dims=(None, 0, 0), randomness="different")
            rows, of_examples = vmap(inner, randomness="different")(
                ctx.values, examples, grads[0].unflatten(0, examples.shape[:2])
            )
        layer.keep(rows)
        return of_examples.flatten(0, 1) if ctx.needs_input_grad[0] else None, None, None
