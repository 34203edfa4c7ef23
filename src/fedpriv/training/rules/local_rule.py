"""The interface of local rules."""

from collections.abc import Callable, Mapping
from typing import Protocol

import torch

from ..interface import ClientWork, State

Trained = Callable[[], Mapping[str, torch.Tensor]]


class LocalRule(Protocol):
    """The client's half of a federated algorithm. One object serves all clients and remembers none of them."""

    def own_parameters(self, state: State) -> Mapping[str, torch.Tensor]:
        """Name -> parameter that the client with this state starts from, where that is no global one."""
        ...

    def correction(self, work: ClientWork) -> torch.Tensor | None:
        """What is added to every step's gradient, float64, shape (d,); None for nothing."""
        ...

    def finish(
        self, work: ClientWork, *, update: torch.Tensor, steps: int, trained: Trained
    ) -> tuple[torch.Tensor, State]:
        """What is sent, from ``update`` (trained minus start, shape (d,)), and the client's new state.

        Args:
            steps: optimizer steps taken.
            trained: gives name -> parameter, as trained; not to be kept.
        """
        ...
