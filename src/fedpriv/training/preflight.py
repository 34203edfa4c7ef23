"""Checks a model before anything is trained: layers that cannot be private, shapes, trainable parameters."""

import torch
from torch import nn

from fedpriv.errors import ConfigError, in_one_line

from .probes import check_idle, check_memory, check_mixing, check_rows
from .vectorized import Formulation

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
    formulation: Formulation | None,
) -> None:
    """Raises ConfigError, naming the layer, unless the model can be trained as asked; ``model`` is used up.

    Running statistics of a norm layer are computed from examples and would leave the client unclipped and
    without noise, so they are refused for every mechanism, and for the baselines that are compared with it.

    Args:
        example_level: whether per-example gradients are needed.
        sample: three examples as the model will get them; their values do not matter.
        num_tokens: how many tokens there are, where examples are tokens.
        output_shape: what the model must return for one example.
        formulation: how the vectorised engine finds gradients, compared with autograd's; None: Opacus shall.
    """
    for name, layer in model.named_modules():
        if getattr(layer, "max_norm", None) is not None and isinstance(layer, nn.Embedding | nn.EmbeddingBag):
            raise ConfigError(
                f"Layer '{name}' ({type(layer).__name__}) has max_norm: it rewrites the weights of the tokens that it "
                "meets, past every clipping. Leave max_norm out."
            )
        if isinstance(layer, _STATEFUL_NORMS) and (
            layer.track_running_stats or isinstance(layer, nn.modules.batchnorm._BatchNorm)
        ):
            raise ConfigError(
                f"Layer '{name}' ({type(layer).__name__}) mixes or remembers examples of a batch, which no "
                "privacy mechanism here covers; runs without privacy, which private ones are compared with, do "
                "without it too. Use GroupNorm, or set fix_model=true to have it replaced."
            )
    if example_level and formulation is None:
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
    check_memory(model, sample, num_tokens, must_run=example_level)
    if example_level:
        check_mixing(model, sample, num_tokens)
        if formulation is not None:
            check_idle(model, sample, num_tokens)
        else:
            check_rows(model, sample, num_tokens)


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
            f"The model does not accept inputs of shape {input_shape} ({sample.dtype}): {in_one_line(error)}. "
            "Choose another model, or give it arguments that fit the data."
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
