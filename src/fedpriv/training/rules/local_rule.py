"""The interface of local rules."""

from typing import Protocol

import torch
from torch import nn

from ..interface import ClientWork, State


class LocalRule(Protocol):
    """The client's half of a federated algorithm. One object serves all clients and remembers none of them."""

    def begin(self, model: nn.Module, state: State) -> None:
        """Prepare ``model``, which holds the global parameters, for the client with this state."""
        ...

    def correction(self, work: ClientWork) -> torch.Tensor | None:
        """What is added to every step's gradient, float64, shape (d,); None for nothing."""
        ...

    def finish(
        self, model: nn.Module, work: ClientWork, *, update: torch.Tensor, steps: int
    ) -> tuple[torch.Tensor, State]:
        """What is sent, from ``update`` (trained minus start, float64, shape (d,)), and the client's new state.

        Args:
            model: as trained.
            steps: optimizer steps taken.
        """
        ...
