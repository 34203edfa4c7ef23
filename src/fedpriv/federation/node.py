"""A node: hosts many simulated clients, trains those it is told to, answers with sums."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import nn

from fedpriv.data import FederatedData
from fedpriv.models import ParameterLayout
from fedpriv.privacy import EncodedUpdate
from fedpriv.streams import Streams
from fedpriv.training import ClientResult, ClientWork, LocalTrainer, Task

from .messages import DROPPED, FAILED, REPLIED, EvaluateReply, EvaluateTask, TrainReply, TrainTask


class ClientHalf(Protocol):
    """The part of a mechanism that runs where the client's update is."""

    def encode(self, update: torch.Tensor, *, weight: float) -> EncodedUpdate: ...


@dataclass(frozen=True, kw_only=True)
class Node:
    """Everything a node needs to train and evaluate any client.

    Args:
        dropout: chance of a client, each round, to never answer.
        streams: the clients' coins, keyed by round and client, so that any node may host any client.
    """

    data: FederatedData
    model: nn.Module
    layout: ParameterLayout
    trainer: LocalTrainer
    task: Task
    mechanism: ClientHalf
    streams: Streams
    dropout: float
    device: torch.device

    def train(self, task: TrainTask) -> TrainReply:
        """Train the task's clients chunk by chunk; memory holds one update and one sum at a time."""
        start = self.layout.flatten(task.parameters)
        multipliers = dict(zip(task.clients, task.noise_multipliers.tolist(), strict=True))
        log = _ClientLog(task.clients)
        values: list[torch.Tensor] = []
        for chunk in task.chunks:
            present = [client for client in chunk if not self._drops_out(task.round, client)]
            work = [self._work(task, client, multipliers[client]) for client in present]
            addends = {}
            total = self._zero()
            for result in self.trainer.train(start, work):
                encoded = self._encode(result)
                log.add(result, encoded)
                if task.each:
                    addends[result.client_id] = encoded.values
                else:
                    total += encoded.values
            if task.each:  # total is still zero: the row of a client that did not answer
                values.extend(addends.get(client, total) for client in chunk)
            else:
                values.append(total)
        return log.reply(task, torch.stack(values) if values else self._zero().expand(0, -1))

    def evaluate(self, task: EvaluateTask) -> EvaluateReply:
        """Accuracy and loss of the parameters on each client's training data; NaN for a client that raises."""
        self.layout.load_into(self.model, self.layout.flatten(task.parameters))
        self.model.eval()
        rows = [self._evaluate_or_nan(client) for client in task.clients]
        names = ("examples", "accuracy", "loss")
        columns = np.asarray(rows, dtype=np.float64).reshape(-1, len(names))
        return EvaluateReply(
            clients=np.asarray(task.clients, dtype=np.int64),
            metrics={name: columns[:, i] for i, name in enumerate(names)},
        )

    def _evaluate_or_nan(self, client: int) -> tuple[float, float, float]:
        try:
            return self._evaluate_client(client)
        except Exception:  # as in training: one client's failure is not the run's
            return math.nan, math.nan, math.nan

    def _evaluate_client(self, client: int) -> tuple[float, float, float]:
        x, y = (tensor.to(self.device) for tensor in self.data.client(client))
        correct, loss = 0.0, 0.0
        with torch.no_grad():
            for xs, ys in zip(x.split(1024), y.split(1024), strict=True):
                outputs = self.model(xs)
                correct += float(self.task.correct(outputs, ys))
                loss += float(self.task.loss_sum(outputs, ys))
        count = max(len(y), 1)
        return float(len(y)), correct / count, loss / count

    def _drops_out(self, round_number: int, client: int) -> bool:
        return self.dropout > 0 and self.streams.rng("dropout", round_number, client).random() < self.dropout

    def _work(self, task: TrainTask, client: int, noise_multiplier: float) -> ClientWork:
        position = (task.round, client)
        return ClientWork(
            client_id=client,
            examples=partial(self.data.client, client),
            state=task.states.get(client, {}),
            noise_multiplier=noise_multiplier,
            # another attempt, other coins: shared ones would void the amplification that both are accounted with
            batches=self.streams.rng("batches", *position, task.attempt),
            noise=self.streams.torch_generator("noise", *position, task.attempt, device=self.device),
            torch_state=self.streams.torch_state("training", *position),
        )

    def _encode(self, result: ClientResult) -> EncodedUpdate:
        if result.update is None:
            return EncodedUpdate(values=self._zero(), norm=float("nan"), clipped=False)
        weight = float(self.data.client_sizes[result.client_id])
        return self.mechanism.encode(result.update, weight=weight)

    def _zero(self) -> torch.Tensor:
        nothing = torch.zeros(self.layout.size, dtype=torch.float64)
        return self.mechanism.encode(nothing, weight=0.0).values


class _ClientLog:
    """Per-client columns of a reply, filled in as results come."""

    def __init__(self, clients: Sequence[int]) -> None:
        self._clients = np.asarray(clients, dtype=np.int64)
        self._row = {client: i for i, client in enumerate(clients)}
        self._status = np.full(len(clients), DROPPED, dtype=np.int64)
        self._metrics: dict[str, np.ndarray] = {}
        self._states: dict[int, Mapping[str, torch.Tensor]] = {}
        self._failures: dict[int, str] = {}

    def add(self, result: ClientResult, encoded: EncodedUpdate) -> None:
        row = self._row[result.client_id]
        if result.failure is not None:
            self._status[row] = FAILED
            self._failures[result.client_id] = result.failure
            return
        self._status[row] = REPLIED
        if result.state:
            self._states[result.client_id] = result.state
        for name, value in self._columns(result, encoded):
            self._metrics.setdefault(name, np.full(len(self._clients), np.nan))[row] = value

    def reply(self, task: TrainTask, values: torch.Tensor) -> TrainReply:
        return TrainReply(
            chunk_ids=task.chunk_ids,
            chunk_sizes=tuple(len(chunk) for chunk in task.chunks),
            clients=self._clients,
            status=self._status,
            values=values,
            metrics=self._metrics,
            states=self._states,
            failures=self._failures,
        )

    @staticmethod
    def _columns(result: ClientResult, encoded: EncodedUpdate) -> Iterator[tuple[str, float]]:
        yield from result.metrics.items()
        yield "update_norm", encoded.norm
        yield "clipped", float(encoded.clipped)
