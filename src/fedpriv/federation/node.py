"""A node: hosts many simulated clients, trains those it is told to, answers with sums."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Protocol

import numpy as np
import torch
from torch import nn

from fedpriv.data import FederatedData
from fedpriv.models import ParameterLayout
from fedpriv.privacy import EncodedUpdate, Senders
from fedpriv.streams import Streams
from fedpriv.training import ClientResult, ClientWork, LocalTrainer, Task, measure
from fedpriv.training.interface import State
from fedpriv.training.local_steps import put
from fedpriv.training.rules import LocalRule

from .messages import DROPPED, FAILED, REPLIED, EvaluateReply, EvaluateTask, TrainReply, TrainTask

ReadExamples = Callable[[], tuple[torch.Tensor, torch.Tensor]]
_SMALL = 64  # examples of a client, below which reading is all overhead
_NUMBERS = 2**18  # of the updates that are encoded together


class ClientHalf(Protocol):
    """The part of a mechanism that runs where the client's update is."""

    def nothing(self, size: int) -> torch.Tensor: ...

    def encode(self, update: torch.Tensor, *, senders: Senders) -> EncodedUpdate: ...


@dataclass(frozen=True, kw_only=True)
class Node:
    """Everything a node needs to train and evaluate any client.

    Args:
        rule: the client's half of the federated algorithm.
        weights: of each client in the mean (float64); public.
        dropout: chance of a client, each round, to never answer.
        streams: the clients' coins, keyed by round and client, so that any node may host any client.
    """

    data: FederatedData
    model: nn.Module
    layout: ParameterLayout
    trainer: LocalTrainer
    rule: LocalRule
    weights: np.ndarray
    task: Task
    mechanism: ClientHalf
    streams: Streams
    dropout: float
    device: torch.device

    def train(self, task: TrainTask) -> TrainReply:
        """Train the task's clients chunk by chunk; memory holds a stack's updates and one sum at a time."""
        start = self.layout.flatten(task.parameters)
        multipliers = dict(zip(task.clients, task.noise_multipliers.tolist(), strict=True))
        zero, log = self.mechanism.nothing(self.layout.size), _ClientLog(task.clients)
        one_sum = not (task.each or zero.is_floating_point())  # integers add up to the same in any order
        together = max(1, _NUMBERS // max(1, len(zero)))
        values: list[torch.Tensor] = []
        for chunk in task.chunks:
            present = [client for client in chunk if not self._drops_out(task.round, client)]
            examples = self._examples(present)
            work = [self._work(task, c, multipliers[c], read) for c, read in zip(present, examples, strict=True)]
            total = values[0] if one_sum and values else zero.clone()
            addends = dict.fromkeys(chunk, zero)
            for results in _together(self.trainer.train(start, work), rows=together):
                trained = [result for result in results if result.update is not None]
                encoded = self._encode(task, trained, multipliers)
                log.add(results, trained, encoded)
                if task.each:
                    addends.update(zip((result.client_id for result in trained), encoded.values, strict=True))
                else:
                    _add(total, encoded.values)
            if task.each:
                values.extend(addends.values())
            elif not (one_sum and values):
                values.append(total)
        return log.reply(task, torch.stack(values) if values else zero.expand(0, -1))

    def evaluate(self, task: EvaluateTask) -> EvaluateReply:
        """Metrics of the parameters on each client's own examples; NaN for a client that raises or has none.

        On what the client keeps back, where clients keep something back; else on what it trains on.
        """
        parameters = self.layout.flatten(task.parameters)
        rows = [self._evaluate_or_nothing(parameters, task.states.get(k, {}), k) for k in task.clients]
        names = sorted({"examples"}.union(*rows))
        return EvaluateReply(
            clients=np.asarray(task.clients, dtype=np.int64),
            metrics={name: np.asarray([row.get(name, math.nan) for row in rows]) for name in names},
        )

    def _evaluate_or_nothing(self, parameters: torch.Tensor, state: State, client: int) -> dict[str, float]:
        try:
            self.layout.load_into(self.model, parameters)
            put(self.model, self.rule.own_parameters(state))
            x, y = self.data.client(client) if self.data.holdout is None else self.data.client_holdout(client)
            batches = zip(x.split(1024), y.split(1024), strict=True)
            measured = measure(self.model, batches, task=self.task, device=self.device)
            return {"examples": float(len(y)), **measured}
        except Exception:  # as in training: one client's failure is not the run's
            return {}

    def _drops_out(self, round_number: int, client: int) -> bool:
        return self.dropout > 0 and self.streams.rng("dropout", round_number, client).random() < self.dropout

    def _examples(self, clients: Sequence[int]) -> list[ReadExamples]:
        """How to read each client's data: of many small ones at once, of large ones when it is their turn."""
        if self.data.client_sizes[list(clients)].sum() > _SMALL * len(clients):
            return [partial(self.data.client, client) for client in clients]
        return [partial(_read_already, *pair) for pair in self.data.gathered(clients)]

    def _work(
        self, task: TrainTask, client: int, noise_multiplier: float, examples: ReadExamples
    ) -> ClientWork:
        # another attempt, other coins: shared ones would void the amplification that both are accounted with
        position = (task.round, client, task.attempt)
        return ClientWork(
            client_id=client,
            examples=examples,
            state=task.states.get(client, {}),
            broadcast=task.broadcast,
            noise_multiplier=noise_multiplier,
            batches=partial(self.streams.rng, "batches", *position),
            noise=partial(self.streams.torch_generator, "noise", *position, device=self.device),
            torch_state=partial(self.streams.torch_state, "training", *position),
            groups=partial(self.data.client_groups, client) if self.data.groups else None,
        )

    def _encode(
        self, task: TrainTask, results: Sequence[ClientResult], noise_multipliers: Mapping[int, float]
    ) -> EncodedUpdate:
        updates = [result.update for result in results if result.update is not None]
        clients = np.array([result.client_id for result in results], dtype=np.int64)
        if len(updates) == 1:
            rows = updates[0][None]  # a long vector is not copied
        else:
            rows = torch.stack(updates) if updates else torch.zeros(0, self.layout.size)
        senders = Senders(
            clients=clients,
            weights=torch.from_numpy(self.weights[clients]),
            noise_multipliers=np.array([noise_multipliers[client] for client in clients.tolist()]),
            round_number=task.round,
            attempt=task.attempt,
            told=task.told,
        )
        return self.mechanism.encode(rows, senders=senders)


def _read_already(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x, y


def _together(results: Iterator[ClientResult], *, rows: int) -> Iterator[list[ClientResult]]:
    """Results in lists of ``rows``; the last may be shorter."""
    while taken := list(islice(results, rows)):
        yield taken


def _add(total: torch.Tensor, rows: torch.Tensor) -> None:
    """Add rows to ``total`` in place: integers at once, others one after another, so that lists do not matter."""
    if rows.is_floating_point() or len(rows) == 1:
        for row in rows:
            total += row
    else:
        total += rows.sum(dim=0)


class _ClientLog:
    """Per-client columns of a reply, filled in as results come."""

    def __init__(self, clients: Sequence[int]) -> None:
        self._clients = np.asarray(clients, dtype=np.int64)
        self._row = {client: i for i, client in enumerate(clients)}
        self._status = np.full(len(clients), DROPPED, dtype=np.int64)
        self._metrics: dict[str, np.ndarray] = {}
        self._states: dict[int, Mapping[str, torch.Tensor]] = {}
        self._failures: dict[int, str] = {}

    def add(
        self, results: Sequence[ClientResult], trained: Sequence[ClientResult], encoded: EncodedUpdate
    ) -> None:
        """What came of some clients; ``trained`` are those that sent what is in ``encoded``."""
        for result in results:
            if result.failure is not None:
                self._status[self._row[result.client_id]] = FAILED
                self._failures[result.client_id] = result.failure
            elif result.state:
                self._states[result.client_id] = result.state
        rows = [self._row[result.client_id] for result in trained]
        self._status[rows] = REPLIED
        for name in sorted({name for result in trained for name in result.metrics}):
            self._put(name, rows, [result.metrics.get(name, math.nan) for result in trained])
        self._put("update_norm", rows, encoded.norm.numpy())
        self._put("clipped", rows, encoded.clipped.numpy())

    def _put(self, name: str, rows: Sequence[int], values: Sequence[float] | np.ndarray) -> None:
        self._metrics.setdefault(name, np.full(len(self._clients), np.nan))[rows] = values

    def reply(self, task: TrainTask, values: torch.Tensor) -> TrainReply:
        summed = len(values) == 1 and not task.each
        return TrainReply(
            chunk_ids=task.chunk_ids[:1] if summed else task.chunk_ids,
            chunk_sizes=(len(task.clients),) if summed else tuple(len(chunk) for chunk in task.chunks),
            clients=self._clients,
            status=self._status,
            values=values,
            metrics=self._metrics,
            states=self._states,
            failures=self._failures,
        )
