"""The two layers of a model whose gradients are read directly: the first, if it is linear, and the last."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True, kw_only=True)
class InputLayer:
    """A linear layer that gets the flattened input itself.

    Attributes:
        weight, bias: names of its parameters; outputs W x + b.
    """

    weight: str
    bias: str


@dataclass(frozen=True, kw_only=True)
class OutputLayer:
    """The linear layer that makes the logits.

    Attributes:
        weight, bias: names of its parameters; ``bias`` None where it has none.
        inputs_are_nonnegative: whether what it gets is never below 0, as after a ReLU.
    """

    weight: str
    bias: str | None
    inputs_are_nonnegative: bool


def find_layers(model: nn.Module, input_shape: tuple[int, ...]) -> tuple[InputLayer | None, OutputLayer | None]:
    """The model's first and last layer, where they are linear and learn; found by a trial on random inputs.

    Args:
        model: of real inputs; in evaluation mode.
        input_shape: of one example.
    """
    calls: list[tuple[str, nn.Module, torch.Tensor, torch.Tensor]] = []

    def note(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, given: Any, output: Any) -> None:
            if given and isinstance(given[0], torch.Tensor) and isinstance(output, torch.Tensor):
                calls.append((name, module, given[0].detach(), output.detach()))

        return hook

    leaves = [(n, m) for n, m in model.named_modules() if any(True for _ in m.parameters(recurse=False))]
    handles = [module.register_forward_hook(note(name)) for name, module in leaves]
    first = next(model.parameters())
    x = torch.randn((8, *input_shape), generator=torch.Generator().manual_seed(0)).to(first.device, first.dtype)
    try:
        with torch.no_grad():
            answered = model(x)
    finally:
        for handle in handles:
            handle.remove()
    if not calls:
        return None, None
    return _input_layer(calls, x), _output_layer(calls, answered)


def _input_layer(calls: list[Any], x: torch.Tensor) -> InputLayer | None:
    name, module, given, _ = calls[0]
    if not _learns(module) or module.bias is None or not module.bias.requires_grad or _is_shared(calls, module):
        return None
    flat = x.flatten(1)
    return InputLayer(weight=f"{name}.weight", bias=f"{name}.bias") if _same(given, flat) else None


def _output_layer(calls: list[Any], answered: torch.Tensor) -> OutputLayer | None:
    name, module, given, output = calls[-1]
    if not _learns(module) or not _same(output, answered) or _is_shared(calls, module):
        return None
    has_bias = module.bias is not None and module.bias.requires_grad
    return OutputLayer(
        weight=f"{name}.weight",
        bias=f"{name}.bias" if has_bias else None,
        inputs_are_nonnegative=bool((given >= 0).all()),
    )


def _learns(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) and module.weight.requires_grad


def _is_shared(calls: list[Any], module: nn.Module) -> bool:
    """Whether the layer is used more than once: its gradient would be a sum over its uses."""
    return sum(other is module for _, other, _, _ in calls) > 1


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and bool(torch.equal(a, b))
