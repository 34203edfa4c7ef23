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


def check_model(
    model: nn.Module,
    *,
    example_level: bool,
    sample: torch.Tensor,
    num_tokens: int | None,
    output_shape: tuple[int, ...],
) -> None:
    """Raises ConfigError, naming the layer, unless the model can be trained as asked; ``model`` is used up.

    Running statistics of a norm layer are computed from examples and would leave the client unclipped and
    without noise, so they are refused for every mechanism, and for the baselines that are compared with it.

    Args:
        example_level: whether per-example gradients are needed (Opacus' ModuleValidator).
        sample: three examples as the model will get them; their values do not matter.
        num_tokens: how many tokens there are, where examples are tokens.
        output_shape: what the model must return for one example.
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
    sample = sample.to(next(model.parameters()).device)
    check_shapes(model, sample[:2], output_shape)
    examples = _some_examples(sample, num_tokens)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    outputs = _outputs(model, examples)
    _check_buffers(model, before)
    if example_level and outputs is not None:
        _check_examples_apart(model, examples, outputs, num_tokens)
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


def check_shapes(model: nn.Module, sample: torch.Tensor, output_shape: tuple[int, ...]) -> None:
    """Raises ConfigError unless the model takes such examples and returns ``output_shape`` for each."""
    model.eval()
    input_shape = tuple(sample.shape[1:])
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            outputs = model(sample)
    except Exception as error:
        raise ConfigError(
            f"The model does not accept inputs of shape {input_shape} ({sample.dtype}): {type(error).__name__}: "
            f"{error}. Choose another model, or give it arguments that fit the data."
        ) from error
    finally:
        model.train()
    expected = (len(sample), *output_shape)
    if not isinstance(outputs, torch.Tensor) or tuple(outputs.shape) != expected:
        shape = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        raise ConfigError(
            f"For {len(sample)} examples the model returns {shape}, but this task asks for {expected}: one value per "
            "class, or one in all for task=binary, regression and survival."
        )


def _check_buffers(model: nn.Module, before: dict[str, torch.Tensor]) -> None:
    """What a layer of the user's own remembers of its inputs would leave the client unclipped, too."""
    for name, buffer in model.named_buffers():
        if name not in before or not torch.equal(before[name], buffer):
            raise ConfigError(
                f"The model's buffer '{name}' changes while it trains, which no privacy mechanism here covers. "
                "Use a layer without running statistics."
            )


def _check_examples_apart(
    model: nn.Module, examples: torch.Tensor, outputs: torch.Tensor, num_tokens: int | None
) -> None:
    """An output may depend on its own example only; otherwise clipping per example bounds nothing."""
    others = 1 - examples[1:] if num_tokens is None else num_tokens - 1 - examples[1:]
    mixed = _outputs(model, torch.cat([examples[:1], others]))
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


def _some_examples(sample: torch.Tensor, num_tokens: int | None) -> torch.Tensor:
    """Zeros and ones for pixels and features, any token for tokens."""
    coins = torch.Generator().manual_seed(0)
    examples = torch.randint(0, 2 if num_tokens is None else num_tokens, sample.shape, generator=coins)
    return examples.to(sample.device, sample.dtype)


def _outputs(model: nn.Module, examples: torch.Tensor) -> torch.Tensor | None:
    """In training mode, with the same coins each time; None where the model has no answer to such examples."""
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            outputs: torch.Tensor = model(examples)
    except Exception:  # a client that raises is the round's business
        return None
    return outputs
