"""FedNova's clients: an update counts per step."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ..interface import ClientWork, State
from .local_rule import Trained


@dataclass(frozen=True)
class FedNovaRule:
    """Sends the update divided by its number of steps (Wang et al. 2020, eq. 9; plain SGD: a_i is all ones)."""

    def own_parameters(self, state: State) -> Mapping[str, torch.Tensor]:
        return {}

    def correction(self, work: ClientWork) -> torch.Tensor | None:
        return None

    def finish(
        self, work: ClientWork, *, update: torch.Tensor, steps: int, trained: Trained
    ) -> tuple[torch.Tensor, State]:
        return update / max(steps, 1), work.state
