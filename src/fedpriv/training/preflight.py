"""Checks a model before anything is trained: layers that cannot be private, shapes, trainable parameters."""

import copy
import warnings

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


def check_model(model: nn.Module, *, example_level: bool, input_shape: tuple[int, ...], num_classes: int) -> None:
    """Raises ConfigError, naming the layer, unless the model can be trained as asked; ``model`` is used up.

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
        raise ConfigError(
            "The model has no trainable parameter; choose another, or leave requires_grad on where it shall learn."
        )
    for name, parameter in model.named_parameters():
        if parameter.dtype not in (torch.float16, torch.float32, torch.float64):
            raise ConfigError(f"The parameter {name} is {parameter.dtype}, which messages cannot carry; use float32.")
        if example_level and parameter.dtype == torch.float16:
            raise ConfigError(f"The parameter {name} is float16, too coarse for the noise of DP-SGD; use float32.")
    _check_shapes(model, input_shape, num_classes)
    examples = _some_examples(model, input_shape)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    outputs = _outputs(model, examples)
    _check_buffers(model, before)
    if example_level and outputs is not None:
        _check_examples_apart(model, examples, outputs)
        _try_per_example_gradients(model, examples)


def _check_per_example_gradients(model: nn.Module) -> None:
    from opacus.validators import ModuleValidator

    for name, layer in model.named_modules():
        validate = ModuleValidator.VALIDATORS.get(type(layer))
        if validate is not None and any(p.requires_grad for p in layer.parameters()):
            problems = validate(layer)
            if problems:
                raise ConfigError(
                    f"Layer '{name}' ({type(layer).__name__}) has no per-example gradient in Opacus. "
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


def _check_buffers(model: nn.Module, before: dict[str, torch.Tensor]) -> None:
    """What a layer of the user's own remembers of its inputs would leave the client unclipped, too."""
    for name, buffer in model.named_buffers():
        if name not in before or not torch.equal(before[name], buffer):
            raise ConfigError(
                f"The model's buffer '{name}' changes while it trains, which no privacy mechanism here covers. "
                "Use a layer without running statistics."
            )


def _check_examples_apart(model: nn.Module, examples: torch.Tensor, outputs: torch.Tensor) -> None:
    """An output may depend on its own example only; otherwise clipping per example bounds nothing."""
    mixed = _outputs(model, torch.cat([examples[:1], 1 - examples[1:]]))
    if mixed is not None and not torch.allclose(outputs[0], mixed[0], rtol=1e-3, atol=1e-4):
        raise ConfigError(
            "The model mixes the examples of a batch: an output changes with the other examples, so that no "
            "example's influence can be clipped. Normalise within each example (GroupNorm, LayerNorm)."
        )


def _try_per_example_gradients(model: nn.Module, examples: torch.Tensor) -> None:
    from opacus.grad_sample import GradSampleModule

    trial = copy.deepcopy(model)
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings(action="ignore"):
            GradSampleModule(trial, loss_reduction="sum")(examples).sum().backward()
    except Exception as error:
        raise ConfigError(
            f"Opacus cannot compute the model's per-example gradients: {type(error).__name__}: {error}. "
            "Use layers that Opacus supports."
        ) from error
    for name, parameter in trial.named_parameters():
        if parameter.requires_grad and getattr(parameter, "grad_sample", None) is None:
            raise ConfigError(
                f"The model's parameter '{name}' takes no part in the output, so it has no per-example gradient; "
                "remove it, or set its requires_grad to False."
            )


def _some_examples(model: nn.Module, input_shape: tuple[int, ...]) -> torch.Tensor:
    """Three examples of zeros and ones: pixels, features or tokens alike."""
    examples = torch.randint(0, 2, (3, *input_shape), generator=torch.Generator().manual_seed(0))
    return examples.to(next(model.parameters()).device, torch.float32)


def _outputs(model: nn.Module, examples: torch.Tensor) -> torch.Tensor | None:
    """In training mode, with the same coins each time; None where the model has no answer to such examples."""
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            outputs: torch.Tensor = model(examples)
    except Exception:  # a client that raises is the round's business
        return None
    return outputs
