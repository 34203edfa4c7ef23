"""Checks a model before anything is trained: layers that cannot be private, shapes, trainable parameters."""

import torch
from torch import nn

from fedpriv.errors import ConfigError

_STATEFUL_NORMS = (
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
)


def fix_model(model: nn.Module) -> nn.Module:
    """Replaces unsupported layers by supported ones where Opacus knows how (BatchNorm by GroupNorm, ...)."""
    from opacus.validators import ModuleValidator

    fixed: nn.Module = ModuleValidator.fix(model.train())
    return fixed


def check_model(
    model: nn.Module, *, example_level: bool, input_shape: tuple[int, ...], num_classes: int
) -> None:
    """Raises ConfigError, naming the layer, unless the model can be trained as asked.

    Running statistics of a norm layer are computed from examples and would leave the client unclipped and
    without noise, so they are refused for every mechanism, and for the baselines that are compared with it.

    Args:
        example_level: whether per-example gradients are needed (Opacus' ModuleValidator).
        input_shape: of one example, without the batch dimension.
    """
    for name, layer in model.named_modules():
        if isinstance(layer, _STATEFUL_NORMS) and (
            layer.track_running_stats or isinstance(layer, nn.modules.batchnorm._BatchNorm)
        ):
            raise ConfigError(
                f"Layer '{name}' ({type(layer).__name__}) mixes or remembers examples of a batch, which no "
                "privacy mechanism here covers. Use GroupNorm, or set fix_model=true to have it replaced."
            )
    if example_level:
        _check_per_example_gradients(model)
    if not any(p.requires_grad for p in model.parameters()):
        raise ConfigError("The model has no trainable parameter: every requires_grad is False.")
    _check_shapes(model, input_shape, num_classes)


def _check_per_example_gradients(model: nn.Module) -> None:
    from opacus.validators import ModuleValidator

    for name, layer in model.named_modules():
        validate = ModuleValidator.VALIDATORS.get(type(layer))
        if validate is not None and any(p.requires_grad for p in layer.parameters()):
            problems = validate(layer)
            if problems:
                raise ConfigError(
                    f"Layer '{name}' ({type(layer).__name__}) has no per-example gradient: {problems[0]}. "
                    "Use a layer that Opacus supports, or set fix_model=true to have it replaced."
                )


def _check_shapes(model: nn.Module, input_shape: tuple[int, ...], num_classes: int) -> None:
    model.eval()
    parameter = next(model.parameters())
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            outputs = model(torch.zeros((2, *input_shape), device=parameter.device))
    except Exception as error:
        raise ConfigError(
            f"The model does not accept inputs of shape {input_shape}: {type(error).__name__}: {error}. "
            "Choose another model, or give it arguments that fit the data."
        ) from error
    finally:
        model.train()
    if not isinstance(outputs, torch.Tensor) or tuple(outputs.shape) != (2, num_classes):
        shape = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        raise ConfigError(
            f"For 2 examples the model returns {shape}; with {num_classes} classes it must return "
            f"(2, {num_classes}) logits."
        )
