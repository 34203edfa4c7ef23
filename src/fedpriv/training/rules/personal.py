"""Personal layers: some of the model never leaves its client."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from fedpriv.models import ParameterLayout

from ..interface import ClientWork, State
from .local_rule import Trained

PERSONAL = "personal"


@dataclass(frozen=True, kw_only=True)
class PersonalLayersRule:
    """FedPer (Arivazhagan et al. 2019, Algorithm 1): shared layers are averaged, personal ones stay with the client.

    Args:
        layout: of the personal parameters.
        initial: what every client's personal parameters are at first, float64.
    """

    layout: ParameterLayout
    initial: torch.Tensor

    def own_parameters(self, state: State) -> Mapping[str, torch.Tensor]:
        return self.layout.unflatten(state[PERSONAL].double() if PERSONAL in state else self.initial)

    def correction(self, work: ClientWork) -> torch.Tensor | None:
        return None

    def finish(
        self, work: ClientWork, *, update: torch.Tensor, steps: int, trained: Trained
    ) -> tuple[torch.Tensor, State]:
        return update, {PERSONAL: self.layout.flatten(trained()).float()}
