"""What every engine does around a local step."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import nn

from fedpriv.models import ParameterLayout

OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that learn."""
    return [p for p in model.parameters() if p.requires_grad]


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
