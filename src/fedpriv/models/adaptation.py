"""What a model starts from, and what of it is trained."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from fedpriv.errors import ConfigError, DataError
from fedpriv.models.lora import ADAPTERS, add_lora
from fedpriv.models.patterns import listed, matching


def adapt(
    model: nn.Module,
    *,
    init: Path | None,
    trainable: Sequence[str] | None,
    lora_rank: int | None,
    lora_alpha: float,
    lora_layers: Sequence[str],
) -> tuple[str, ...]:
    """Load weights, add LoRA adapters, freeze the rest: in place, a function of torch's generator as it stands.

    Args:
        init: safetensors file to start from; with adapters, if a LoRA run saved it; None: the model's own start.
        trainable: patterns of the parameters that learn, beside adapters; None: all, or the adapters alone.
        lora_rank, lora_alpha, lora_layers: as in ``add_lora``; rank None: no adapters.

    Returns:
        Names of the state dict that the file lacks, which keep their own start.

    Raises:
        ConfigError: a pattern without a match, or LoRA that the model cannot take.
        DataError: a file that does not fit.
    """
    tensors = {} if init is None else _read(init)
    has_adapters = any("lora_down." in name for name in tensors)
    if has_adapters and lora_rank is None:
        raise ConfigError(f"{init} holds LoRA adapters; set model.lora_rank to the rank that it was trained with.")
    missing: tuple[str, ...] = ()
    if init is not None and not has_adapters:
        missing = _load(model, tensors, init)
    if lora_rank is not None:
        add_lora(model, rank=lora_rank, alpha=lora_alpha, patterns=lora_layers)
        trainable = [*ADAPTERS, *(trainable or ())]
    if init is not None and has_adapters:
        missing = _load(model, tensors, init)
    if trainable is not None:
        freeze_except(model, trainable)
    return missing


def load_weights(model: nn.Module, path: Path) -> tuple[str, ...]:
    """Copy a safetensors file, such as a run's ``model.safetensors``, into the model, in place.

    The file may hold a part of the model only, such as a backbone without the head.

    Returns:
        Names of the model's state dict that the file lacks, which keep their values.

    Raises:
        DataError: no such file, no safetensors file, a tensor that the model lacks or has in another shape, or a
            value that isn't finite. The model is left as it was.
    """
    return _load(model, _read(path), path)


def freeze_except(model: nn.Module, patterns: Sequence[str]) -> None:
    """Let exactly the parameters learn whose names match one of the shell patterns, such as ``fc2.*``.

    Raises:
        ConfigError: a pattern that matches no parameter.
    """
    parameters = dict(model.named_parameters())
    chosen = matching(parameters, patterns, what="parameter")
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in chosen)


def _read(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        # Read whole: a file that is mapped and then replaced would change the weights.
        tensors: dict[str, torch.Tensor] = load(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"There is no file {path} to start the model from; mend model.init.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; mend model.init.") from error
    except (SafetensorError, KeyError, ValueError) as error:
        raise DataError(
            f"{path} is no safetensors file ({error}). Save weights with safetensors.torch.save_file; a run's "
            "model.safetensors is one."
        ) from error
    if not tensors:
        raise DataError(f"{path} holds no tensors; mend model.init.")
    return tensors


def _load(model: nn.Module, tensors: Mapping[str, torch.Tensor], path: Path) -> tuple[str, ...]:
    own = model.state_dict()
    for name, tensor in tensors.items():
        problem = _problem(name, tensor, own)
        if problem is not None:
            raise DataError(f"{path}: {problem}")
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)  # a state dict shares memory with its model
    return tuple(name for name in own if name not in tensors)


def _problem(name: str, tensor: torch.Tensor, own: Mapping[str, torch.Tensor]) -> str | None:
    if name not in own:
        return (
            f"the model has no tensor {name}. Choose the model that the file was saved from, or take the tensor out "
            f"of the file. The model has: {listed(list(own))}."
        )
    if tensor.shape != own[name].shape:
        mend = "Choose the model and arguments that the file was saved from, or take the tensor out of the file."
        if "lora_" in name:
            mend = "Set model.lora_rank to the rank that it was trained with."
        return f"{name} has shape {tuple(tensor.shape)}, in the model {tuple(own[name].shape)}. {mend}"
    if tensor.is_floating_point() != own[name].is_floating_point() or tensor.is_complex():
        return f"{name} is {tensor.dtype}, in the model {own[name].dtype}. Save it in the model's type."
    if not torch.isfinite(tensor).all():
        return f"{name} holds values that are not finite: the training that saved it has failed. Take another file."
    return None
