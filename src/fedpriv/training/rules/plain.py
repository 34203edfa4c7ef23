"""Federated averaging's clients: nothing but local steps."""

from dataclasses import dataclass

import torch
from torch import nn

from ..interface import ClientWork, State


@dataclass(frozen=True)
class PlainRule:
    """ClientUpdate of FedAvg (McMahan et al. 2017, Algorithm 1)."""

    def begin(self, model: nn.Module, state: State) -> None:
        pass

    def correction(self, work: ClientWork) -> torch.Tensor | None:
        return None

    def finish(
        self, model: nn.Module, work: ClientWork, *, update: torch.Tensor, steps: int
    ) -> tuple[torch.Tensor, State]:
        return update, work.state
