"""Federated averaging's clients: nothing but local steps."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ..interface import ClientWork, State
from .local_rule import Trained


@dataclass(frozen=True)
class PlainRule:
    """ClientUpdate of FedAvg (McMahan et al. 2017, Algorithm 1)."""

    def own_parameters(self, state: State) -> Mapping[str, torch.Tensor]:
        return {}

    def correction(self, work: ClientWork) -> torch.Tensor | None:
        return None

    def finish(
        self, work: ClientWork, *, update: torch.Tensor, steps: int, trained: Trained
    ) -> tuple[torch.Tensor, State]:
        return update, work.state
