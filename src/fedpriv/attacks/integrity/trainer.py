"""Local training in which some clients are attackers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import final

import torch

from fedpriv.errors import FedprivError
from fedpriv.streams import Streams
from fedpriv.training import ClientResult, ClientWork, LocalTrainer

from .tampering import Facts, Tampering

Read = Callable[[], tuple[torch.Tensor, torch.Tensor]]


@final
@dataclass(frozen=True, kw_only=True)
class TamperingTrainer:
    """Trains clients as ``trainer`` does; attackers on other examples, and what comes of it is multiplied.

    Whatever a client of the mechanism does to an update is still to come, to attackers' as to anybody's.

    Args:
        attackers: client ids.
        factor: what attackers' updates are multiplied by; exactly 1 leaves them as they are.
        streams: coins of ``tampering``, keyed by client.
    """

    trainer: LocalTrainer
    tampering: Tampering
    attackers: frozenset[int]
    facts: Facts
    factor: float
    streams: Streams

    def train(self, start: torch.Tensor, work: Sequence[ClientWork]) -> Iterator[ClientResult]:
        handed = [self._handed(item) if item.client_id in self.attackers else item for item in work]
        for result in self.trainer.train(start, handed):
            if result.client_id in self.attackers and result.update is not None and self.factor != 1.0:
                result = replace(result, update=result.update * self.factor)
            yield result

    def _handed(self, work: ClientWork) -> ClientWork:
        return replace(work, examples=partial(self._tampered, work.client_id, work.examples))

    def _tampered(self, client: int, read: Read) -> tuple[torch.Tensor, torch.Tensor]:
        x, y = read()
        tampered = self.tampering.examples(x, y, facts=self.facts, rng=self.streams.rng("tampering", client))
        if tampered[0].shape != x.shape or tampered[1].shape != y.shape:  # noise and weights are for as many
            raise FedprivError(f"{type(self.tampering).__name__} changes how many examples client {client} holds.")
        return tampered
