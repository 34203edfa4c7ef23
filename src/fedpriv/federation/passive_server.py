"""A server that follows the protocol and keeps what it reads: the messages of a round, as plain vectors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from flwr.app import Message

from fedpriv.models import ParameterLayout

from .messages import REPLIED, TrainReply, TrainTask


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadRound:
    """What went through the server in a round.

    Attributes:
        parameters: that it sent (d,).
        cohort: client ids that it asked, int64, ascending.
        total: the sum of what came back (d,), as encoded.
        clients, updates: who answered, int64, ascending, and what (answers, d), as encoded; None: only sums came.
    """

    number: int
    parameters: torch.Tensor
    cohort: np.ndarray
    total: torch.Tensor
    clients: np.ndarray | None
    updates: torch.Tensor | None


@dataclass(frozen=True, kw_only=True)
class PassiveServer:
    """An `Observer` that reads rounds and hands them on.

    Args:
        note: is given each round that anybody was asked in.
    """

    layout: ParameterLayout
    note: Callable[[ReadRound], None]

    def saw(self, round_number: int, sent: Sequence[Message], received: Sequence[Message]) -> None:
        if not sent:
            return
        tasks = [TrainTask.from_record(message.content) for message in sent]
        replies = [TrainReply.from_record(message.content) for message in received if message.has_content()]
        clients, updates = self._each(replies) if tasks[0].each else (None, None)
        self.note(
            ReadRound(
                number=round_number,
                parameters=self.layout.flatten(tasks[0].parameters),
                cohort=np.sort(np.concatenate([np.asarray(task.clients, dtype=np.int64) for task in tasks])),
                total=self._total(replies) if updates is None else updates.sum(dim=0, dtype=torch.float64),
                clients=clients,
                updates=updates,
            )
        )

    def _values(self, reply: TrainReply) -> torch.Tensor:
        """Without what a mechanism sends behind the vector, such as a count."""
        return reply.values[:, : self.layout.size]

    def _each(self, replies: Sequence[TrainReply]) -> tuple[np.ndarray, torch.Tensor]:
        asked = np.concatenate([np.zeros(0, np.int64), *(reply.clients for reply in replies)])
        answered = np.concatenate([np.zeros(0, np.bool_), *(reply.status == REPLIED for reply in replies)])
        order = np.argsort(asked, kind="stable")
        order = order[answered[order]]
        if not len(order):
            return asked[order], torch.zeros(0, self.layout.size)
        return asked[order], torch.cat([self._values(reply) for reply in replies])[torch.from_numpy(order)]

    def _total(self, replies: Sequence[TrainReply]) -> torch.Tensor:
        chunks = {
            chunk: row for reply in replies for chunk, row in zip(reply.chunk_ids, self._values(reply), strict=True)
        }
        total = torch.zeros(self.layout.size, dtype=torch.float64)
        for chunk in sorted(chunks):
            total += chunks[chunk]
        return total
