"""Client-level canaries: clients without data that send a random direction, clipped and noised as any update."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch

from fedpriv.training import ClientResult, ClientWork, LocalTrainer

from .canaries import Canaries


@final
@dataclass(frozen=True, kw_only=True)
class CanaryTrainer:
    """Trains clients as ``trainer`` does; those from ``first`` on are canaries, which send what they are.

    A canary that is out sends zero, which moves no sum: as if it were not there.

    Args:
        norm: length of a canary's update: what updates are clipped to, so that it moves a sum as far as any client may.
    """

    trainer: LocalTrainer
    canaries: Canaries
    first: int
    norm: float

    def train(self, start: torch.Tensor, work: Sequence[ClientWork]) -> Iterator[ClientResult]:
        yield from self.trainer.train(start, [item for item in work if item.client_id < self.first])
        for item in work:
            if item.client_id >= self.first:
                yield self._planted(item.client_id, size=len(start))

    def _planted(self, client: int, *, size: int) -> ClientResult:
        canary = client - self.first
        length = self.norm if self.canaries.included[canary] else 0.0
        update = self.canaries.direction(canary, size=size) * length
        nothing = {"loss": math.nan, "examples": 0.0, "steps": 0.0}
        return ClientResult(client_id=client, update=update, metrics=nothing)
