"""LoRA: a frozen Linear layer learns by a product of two thin ones, which alone travel and are noised."""

from collections.abc import Sequence

import torch
from torch import nn

from fedpriv.errors import ConfigError
from fedpriv.models.patterns import matching

# What of a model learns once it has adapters.
ADAPTERS = ("*lora_down.weight", "*lora_up.weight")


class LoraLinear(nn.Module):
    """``base(x) + alpha / rank * lora_up(lora_down(x))``: (..., in) to (..., out), at first the base's own output.

    Source: Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models", section 4.1. Plain Linear layers, so
    that Opacus' hooks see them.

    Args:
        base: the layer to adapt; frozen here.
        rank: width of the product's middle.
        alpha: its weight, in units of ``rank``.
    """

    def __init__(self, *, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        device, dtype = base.weight.device, base.weight.dtype
        self.lora_down = nn.Linear(base.in_features, rank, bias=False, device=device, dtype=dtype)  # kaiming uniform
        self.lora_up = nn.Linear(rank, base.out_features, bias=False, device=device, dtype=dtype)
        nn.init.zeros_(self.lora_up.weight)
        self.scale = alpha / rank

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.base(x) + self.scale * self.lora_up(self.lora_down(x))
        return result

    @property
    def weight(self) -> torch.Tensor:
        """Of the one Linear layer that computes the same, shape (out, in)."""
        return self.base.weight + self.scale * (self.lora_up.weight @ self.lora_down.weight)

    @property
    def bias(self) -> torch.Tensor | None:
        """Of the one Linear layer that computes the same, shape (out,)."""
        return self.base.bias


def add_lora(model: nn.Module, *, rank: int, alpha: float, patterns: Sequence[str]) -> None:
    """Give every Linear layer whose name matches a pattern adapters, in place; they start from torch's generator.

    All else is frozen.

    Args:
        patterns: shell patterns of layers' names, such as ``blocks.*.attention.*``.

    Raises:
        ConfigError: rank or alpha out of their range, or a pattern that matches no Linear layer.
    """
    if rank < 1 or alpha <= 0:
        raise ConfigError(f"LoRA needs a rank of at least 1 and a positive alpha, not {rank} and {alpha}.")
    linear = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear) and name}
    chosen = matching(linear, patterns, what="Linear layer")
    if not chosen:
        raise ConfigError("LoRA needs a Linear layer, and no pattern of layers is given; use [\"*\"] for all.")
    for name in chosen:
        narrow = min(linear[name].in_features, linear[name].out_features)
        if rank > narrow:
            raise ConfigError(
                f"LoRA of rank {rank} saves nothing on {name}, whose narrow side is {narrow}: use a smaller "
                "model.lora_rank, or leave it out of model.lora_layers."
            )
    model.requires_grad_(False)
    for name, layer in linear.items():
        if name in chosen:
            _replace(model, name, LoraLinear(base=layer, rank=rank, alpha=alpha))


def merge_lora(model: nn.Module) -> None:
    """Fold all adapters into plain Linear layers, in place: the model computes the same, and has its plain names."""
    for name, layer in list(model.named_modules()):
        if isinstance(layer, LoraLinear):
            layer.base.weight.data = layer.weight.detach()
            _replace(model, name, layer.base)


def _replace(model: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, layer)
