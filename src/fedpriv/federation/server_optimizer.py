"""The server step: any torch optimizer on the pseudo-gradient (Reddi et al. 2021, Algorithm 2).

FedAvg is SGD with lr 1, FedAvgM SGD with momentum, FedAdam Adam.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from fedpriv.models import ParameterLayout

OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


class ServerOptimizer:
    """The global parameters and the optimizer that moves them.

    Args:
        layout: names and shapes.
        start: initial parameters, shape (d,).
        make_optimizer: builds the optimizer over the parameters.
    """

    def __init__(
        self, *, layout: ParameterLayout, start: torch.Tensor, make_optimizer: OptimizerFactory
    ) -> None:
        self._parameters = {
            name: nn.Parameter(tensor.clone()) for name, tensor in layout.unflatten(start).items()
        }
        self._layout = layout
        self._optimizer = make_optimizer(self._parameters.values())

    @property
    def parameters(self) -> Mapping[str, torch.Tensor]:
        """State-dict key -> current global parameter (detached)."""
        return {name: parameter.detach() for name, parameter in self._parameters.items()}

    def step(self, mean_update: torch.Tensor) -> None:
        """Move along ``mean_update`` (float64, shape (d,)): its negative is the pseudo-gradient."""
        for name, gradient in self._layout.unflatten(-mean_update).items():
            self._parameters[name].grad = gradient
        self._optimizer.step()

    def tensors(self) -> dict[str, torch.Tensor]:
        """Parameters and optimizer state, as flat names -> tensors, for a checkpoint."""
        tensors = {f"parameters/{name}": tensor for name, tensor in self.parameters.items()}
        for index, state in self._optimizer.state_dict()["state"].items():
            for name, value in state.items():
                if value is not None:
                    tensors[f"optimizer/{index}/{name}"] = torch.as_tensor(value)
        return tensors

    def load_tensors(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """The inverse of ``tensors``."""
        state: dict[int, dict[str, Any]] = {}
        with torch.no_grad():
            for key, tensor in tensors.items():
                kind, _, name = key.partition("/")
                if kind == "parameters":
                    self._parameters[name].copy_(tensor)
                elif kind == "optimizer":
                    index, _, slot = name.partition("/")
                    state.setdefault(int(index), {})[slot] = tensor.clone()
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": state, "param_groups": groups})
