"""A model's trainable parameters as one vector: the form in which updates are clipped, noised and summed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from fedpriv.errors import ConfigError, DataError
from fedpriv.models.patterns import matching


@dataclass(frozen=True, kw_only=True)
class ParameterLayout:
    """Names, shapes and dtypes of the trainable parameters, in the order of the state dict.

    A parameter that is shared under several names counts once, under its first name. Buffers, frozen parameters, and
    those that are left out because they stay at the client, are no part of the vector.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[torch.dtype, ...]

    @classmethod
    def of(cls, module: nn.Module, *, without: Sequence[str] = ()) -> "ParameterLayout":
        """The layout of a module.

        Args:
            without: shell patterns of trainable parameters that are no part of the vector, such as ``fc2.*``.

        Raises:
            ConfigError: nothing to train, nothing left, a pattern without a match, or a parameter that isn't real.
        """
        parameters = _trainable(module)
        if not parameters:
            raise ConfigError(f"The model {type(module).__name__} has no trainable parameters.")
        left_out = matching(parameters, without, what="trainable parameter")
        if len(left_out) == len(parameters):
            raise ConfigError(f"{', '.join(without)} leave out every trainable parameter: nothing is left to share.")
        parameters = {name: p for name, p in parameters.items() if name not in left_out}
        for name, parameter in parameters.items():
            if not parameter.dtype.is_floating_point:
                raise ConfigError(f"The parameter {name} has dtype {parameter.dtype}: it must be real.")
        return cls(
            names=tuple(parameters),
            shapes=tuple(tuple(p.shape) for p in parameters.values()),
            dtypes=tuple(p.dtype for p in parameters.values()),
        )

    @property
    def size(self) -> int:
        """d, the length of the vector."""
        return sum(math.prod(shape) for shape in self.shapes)

    def flatten(self, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The vector, float64 on the CPU, shape (d,), newly allocated. Further names (buffers) are ignored.

        Raises:
            DataError: a missing parameter or a wrong shape.
        """
        vector = torch.empty(self.size, dtype=torch.float64)
        start = 0
        for name, shape in zip(self.names, self.shapes, strict=True):
            tensor = tensors.get(name)
            if tensor is None or tuple(tensor.shape) != shape:
                found = "is missing" if tensor is None else f"has shape {tuple(tensor.shape)}"
                raise DataError(f"The parameter {name} {found}; the model has it with shape {shape}.")
            length = math.prod(shape)
            vector[start : start + length] = tensor.detach().reshape(-1)
            start += length
        return vector

    def unflatten(self, vector: torch.Tensor) -> dict[str, torch.Tensor]:
        """Name -> tensor in the parameter's shape and dtype, newly allocated, on the vector's device.

        Raises:
            DataError: the vector hasn't shape (d,).
        """
        if tuple(vector.shape) != (self.size,):
            raise DataError(f"The vector has shape {tuple(vector.shape)}, the model {self.size} parameters.")
        parts = torch.split(vector.detach(), [math.prod(shape) for shape in self.shapes])
        return {
            name: part.to(dtype, copy=True).reshape(shape)
            for name, part, shape, dtype in zip(self.names, parts, self.shapes, self.dtypes, strict=True)
        }

    def load_into(self, module: nn.Module, vector: torch.Tensor) -> None:
        """Write the vector into the module's parameters, in place; what is no part of the layout stays as it is.

        Raises:
            DataError: the vector hasn't shape (d,), or the module hasn't these trainable parameters.
        """
        parameters = _trainable(module)
        values = self.unflatten(vector)
        found = {name: tuple(p.shape) for name, p in parameters.items() if name in values}
        if found != dict(zip(self.names, self.shapes, strict=True)):
            raise DataError("The model's trainable parameters are not those of this layout.")
        with torch.no_grad():
            for name, value in values.items():
                parameters[name].copy_(value)

    def from_module(self, module: nn.Module) -> torch.Tensor:
        """The vector of a module's parameters, as ``flatten``."""
        return self.flatten(_trainable(module))


def _trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in module.named_parameters() if p.requires_grad}
