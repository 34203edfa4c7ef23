"""What every engine does around a local step."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

import torch
from torch import nn

from fedpriv.models import ParameterLayout

OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that learn."""
    return [p for p in model.parameters() if p.requires_grad]


def put(model: nn.Module, values: Mapping[str, torch.Tensor]) -> None:
    """Overwrite these parameters of the model."""
    if values:
        parameters = dict(model.named_parameters())
        with torch.no_grad():
            for name, value in values.items():
                parameters[name].copy_(value)


class Pristine:
    """A model as it was built: what one client leaves in it, beyond the parameters that travel, is no other's to meet.

    Args:
        model: as every client shall find it.
        travelling: names of the parameters that are overwritten for every client anyway.
    """

    def __init__(self, model: nn.Module, *, travelling: Collection[str]) -> None:
        self._model = model
        self._learns = {name: p.requires_grad for name, p in model.named_parameters()}
        self._values = {name: t.detach().clone() for name, t in tensors_of(model) if name not in travelling}

    @property
    def is_intact(self) -> bool:
        """Whether frozen parameters and buffers are as they were."""
        found = dict(tensors_of(self._model)) if self._values else {}
        return all(name in found and torch.equal(found[name], value) for name, value in self._values.items())

    def restore(self) -> None:
        """Put back frozen parameters, buffers, and which parameters learn.

        Raises:
            RuntimeError: a tensor that was there is gone, or has another shape or dtype.
        """
        found = dict(tensors_of(self._model))
        for name, learns in self._learns.items():
            if name not in found:
                raise RuntimeError(f"The model's parameter '{name}' is gone: training must leave its layers in place.")
            found[name].requires_grad_(learns)
        for name, value in self._values.items():
            tensor = found.get(name)
            if tensor is None or (tensor.shape, tensor.dtype) != (value.shape, value.dtype):
                raise RuntimeError(f"The model's '{name}' was replaced: training must leave its layers in place.")
            if not torch.equal(tensor, value):
                with torch.no_grad():
                    tensor.copy_(value)


def tensors_of(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """All parameters and buffers, by name."""
    yield from model.named_parameters()
    yield from model.named_buffers()


class GradientTerms:
    """Terms that join a step's gradient and depend on no data, so that they may follow the noise.

    FedProx's mu (w - w_global) (Li et al. 2020, eq. 2), and a constant correction (SCAFFOLD).

    Args:
        model: holding the parameters that the client starts from.
        layout: which parameters the correction is for.
        proximal_mu: 0 for none.
        correction: float64, shape (d,), or None.
    """

    def __init__(
        self, *, model: nn.Module, layout: ParameterLayout, proximal_mu: float, correction: torch.Tensor | None
    ) -> None:
        self._parameters = trainable(model)
        self._mu = proximal_mu
        self._anchors = [p.detach().clone() for p in self._parameters] if proximal_mu else []
        self._corrections: Sequence[tuple[nn.Parameter, torch.Tensor]] = ()
        if correction is not None:
            named = dict(model.named_parameters())
            parts = layout.unflatten(correction)
            self._corrections = [(named[name], part.to(named[name].device)) for name, part in parts.items()]

    def add(self) -> None:
        """Add the terms to the gradients that are there."""
        if self._mu:
            for parameter, anchor in zip(self._parameters, self._anchors, strict=True):
                if parameter.grad is not None:
                    parameter.grad.add_(parameter.detach() - anchor, alpha=self._mu)
        for parameter, correction in self._corrections:
            if parameter.grad is None:
                parameter.grad = correction.clone()
            else:
                parameter.grad.add_(correction)
