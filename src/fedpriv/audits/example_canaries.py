"""Example-level canaries: places among clients' training examples, each in or out by a coin of its own."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import final

import numpy as np
import torch

from fedpriv.training import ClientResult, ClientWork, LocalTrainer, Planted, SparseGradient

from .canaries import Canaries


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Places:
    """Where canaries lie: canary k is example ``indices[k]`` of client ``clients[k]``; int64 (m,) each."""

    clients: np.ndarray
    indices: np.ndarray

    def of(self, client: int) -> np.ndarray:
        """Canaries (int64) that lie with this client."""
        return np.flatnonzero(self.clients == client)


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class PlantingTrainer:
    """Trains clients as ``trainer`` does, with canaries in their places.

    Of those that are in, the example's own gradient counts or, where directions are given, the canary's direction in
    its stead. Those that are out add nothing. Sizes, batches, noise and the ledger are the same for all coins.

    Args:
        direction: of a canary, as long as gradients of single examples are clipped to; None: canaries are examples.
    """

    trainer: LocalTrainer
    canaries: Canaries
    places: Places
    direction: Callable[[int], SparseGradient] | None
    _known: dict[int, Planted | None] = field(default_factory=dict)

    def train(self, start: torch.Tensor, work: Sequence[ClientWork]) -> Iterator[ClientResult]:
        planted = (self._planted(item.client_id) for item in work)
        return self.trainer.train(start, [replace(item, planted=own) for item, own in zip(work, planted, strict=True)])

    def _planted(self, client: int) -> Planted | None:
        """The same in every round."""
        if client not in self._known:
            self._known[client] = self._made(self.places.of(client))
        return self._known[client]

    def _made(self, canaries: np.ndarray) -> Planted | None:
        if not len(canaries):
            return None
        inside = self.canaries.included[canaries]
        if self.direction is None:
            return Planted(silent=self.places.indices[canaries[~inside]], gradients={})
        gradients = {
            int(self.places.indices[canary]): self.direction(canary)
            for canary in canaries[inside].tolist()
        }
        return Planted(silent=self.places.indices[canaries], gradients=gradients)
