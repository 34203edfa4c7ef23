"""FedNova's clients: an update counts per step."""

from dataclasses import dataclass

import torch
from torch import nn

from ..interface import ClientWork, State


@dataclass(frozen=True)
class FedNovaRule:
    """Sends the update divided by its number of steps (Wang et al. 2020, eq. 9; plain SGD: a_i is all ones)."""

    def begin(self, model: nn.Module, state: State) -> None:
        pass

    def correction(self, work: ClientWork) -> torch.Tensor | None:
        return None

    def finish(
        self, model: nn.Module, work: ClientWork, *, update: torch.Tensor, steps: int
    ) -> tuple[torch.Tensor, State]:
        return update / max(steps, 1), work.state
