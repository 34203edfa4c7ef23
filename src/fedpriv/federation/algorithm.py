"""Federated training, as in the papers: sample, permit, broadcast, train, aggregate, step.

for each round:
    cohort  <- sampler
    ledger  <- mechanism's entries for the cohort     (before any message leaves)
    sums    <- nodes train the cohort from the global parameters
    update  <- mechanism's server half of the total
    update  <- the algorithm's server half (FedAvg: itself)
    server optimizer moves the parameters along the update
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from flwr.app import Message, MessageType
from flwr.serverapp import Grid

from fedpriv.accounting.ledger import ReleaseEntry
from fedpriv.errors import FedprivError
from fedpriv.models import ParameterLayout
from fedpriv.privacy import CohortSampler, Gathered, Mechanism, State

from .messages import DROPPED, FAILED, REPLIED, EvaluateReply, EvaluateTask, TrainReply, TrainTask
from .server_optimizer import ServerOptimizer
from .server_rules import Answers, ServerRule


@dataclass(frozen=True, kw_only=True)
class RoundOutcome:
    """What a round left behind.

    Attributes:
        entries: what it released; none where nothing can be claimed.
        cohort: client ids that were asked.
        status: of each: replied, dropped or failed.
        metrics: per-client diagnostics, aligned with ``cohort``.
        failures: client id -> what went wrong.
        aborted: whether so few answered that nothing was released; the round stays paid for.
    """

    round: int
    entries: Sequence[ReleaseEntry]
    cohort: np.ndarray
    status: np.ndarray
    metrics: Mapping[str, np.ndarray]
    failures: Mapping[int, str]
    aborted: bool

    @property
    def replied(self) -> int:
        return int((self.status == REPLIED).sum())


class Observer(Protocol):
    """Sees the real messages of a round, and changes nothing."""

    def saw(self, round_number: int, sent: Sequence[Message], received: Sequence[Message]) -> None: ...


@dataclass(kw_only=True)
class ServerState:
    """All that a later round depends on; checkpointed whole.

    Attributes:
        round: last completed round.
        attempt: part of the noise streams' key.
        rule: the algorithm's server half, with what it keeps.
        mechanism: what the mechanism keeps between rounds.
        states: client id -> what the algorithm keeps for it.
    """

    round: int
    attempt: int
    optimizer: ServerOptimizer
    rule: ServerRule
    mechanism: State
    states: dict[int, Mapping[str, torch.Tensor]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FederatedAveraging:
    """The server's side of federated averaging with a privacy mechanism.

    Args:
        client_sizes: examples of each client; public. By them work is divided among nodes.
        weights: of each client in the mean (float64); public.
        chunk_size: most clients of one sum; depends on neither nodes nor workers, so results do not either.
        clients_per_node: 1 gives every client a node of its own; None lets a node host any number.
        permit: writes the ledger entry so that it survives a crash; called before the round's first message.
        observers: see the round's messages; ``each`` asks nodes to return every client's update by itself.
    """

    layout: ParameterLayout
    sampler: CohortSampler
    mechanism: Mechanism
    client_sizes: np.ndarray
    weights: np.ndarray
    chunk_size: int
    clients_per_node: int | None
    permit: Callable[[ReleaseEntry], None]
    observers: Sequence[Observer]
    each: bool

    def run_round(self, grid: Grid, state: ServerState) -> RoundOutcome:
        """One round; ``state`` moves only if all of it succeeded."""
        round_number = state.round + 1
        cohort = self.sampler.cohort(round_number)
        key: dict[str, int] = {"round_number": round_number, "attempt": state.attempt}
        entries = self.mechanism.entries(**key, cohort=cohort, state=state.mechanism)
        for entry in entries:
            self.permit(entry)

        told = self.mechanism.told(**key, cohort=cohort, state=state.mechanism)
        replies = self._train(grid, state, round_number, cohort, told)
        status, metrics = _align(replies, cohort)
        failures = {client: text for reply in replies for client, text in reply.failures.items()}
        if len(cohort) and np.all(status == FAILED):
            raise all_failed(round_number, failures)

        answered = cohort[status == REPLIED]
        gathered = Gathered(
            total=self._total(replies),
            size=self.layout.size,
            weight=float(self.weights[answered].sum()),
            cohort=cohort,
            answered=answered,
            state=state.mechanism,
            **key,
        )
        update, kept = self.mechanism.decode(gathered), self.mechanism.next_state(gathered)
        if update is not None:
            answers = self._answers(state, replies, cohort, status, metrics)
            state.optimizer.step(state.rule.combine(update, answers))
            state.states.update(answers.after)
        state.mechanism = kept
        state.round = round_number
        return RoundOutcome(
            round=round_number,
            entries=entries,
            cohort=cohort,
            status=status,
            metrics=metrics,
            failures=failures,
            aborted=update is None,
        )

    def evaluate_clients(self, grid: Grid, state: ServerState, clients: np.ndarray) -> dict[str, np.ndarray]:
        """Per-client metrics of the global parameters, aligned with ``clients`` (a diagnostic)."""
        chunks = _chunks(clients, self.chunk_size)
        messages = []
        for node, mine in self._assign(grid, chunks).items():
            asked = tuple(int(c) for i in mine for c in chunks[i])
            states = {c: state.states[c] for c in asked if c in state.states}
            task = EvaluateTask(parameters=state.optimizer.parameters, clients=asked, states=states)
            messages.append(Message(task.to_record(), dst_node_id=node, message_type=MessageType.EVALUATE))
        replies = [
            EvaluateReply.from_record(m.content) for m in grid.send_and_receive(messages) if m.has_content()
        ]
        order = np.concatenate([reply.clients for reply in replies])
        back = np.argsort(order, kind="stable")
        nothing = {len(reply.clients): np.full(len(reply.clients), np.nan) for reply in replies}
        return {
            name: np.concatenate([reply.metrics.get(name, nothing[len(reply.clients)]) for reply in replies])[back]
            for name in sorted({name for reply in replies for name in reply.metrics})
        }

    def _answers(
        self,
        state: ServerState,
        replies: Sequence[TrainReply],
        cohort: np.ndarray,
        status: np.ndarray,
        metrics: Mapping[str, np.ndarray],
    ) -> Answers:
        there = status == REPLIED
        after = {client: kept for reply in replies for client, kept in reply.states.items()}
        return Answers(
            clients=cohort[there],
            weights=self.weights[cohort[there]],
            steps=metrics.get("steps", np.full(len(cohort), np.nan))[there],
            before={client: state.states[client] for client in after if client in state.states},
            after=after,
        )

    def _train(
        self, grid: Grid, state: ServerState, round_number: int, cohort: np.ndarray, told: State
    ) -> list[TrainReply]:
        chunks = _chunks(cohort, self.chunk_size)
        sent = [
            Message(
                self._task(state, round_number, told, chunks, mine).to_record(),
                dst_node_id=node,
                message_type=MessageType.TRAIN,
                group_id=str(round_number),
            )
            for node, mine in self._assign(grid, chunks).items()
        ]
        received = list(grid.send_and_receive(sent)) if sent else []
        for observer in self.observers:
            observer.saw(round_number, sent, received)
        return [self._reply(message, sent) for message in received]

    def _task(
        self,
        state: ServerState,
        round_number: int,
        told: State,
        chunks: Sequence[np.ndarray],
        mine: Sequence[int],
    ) -> TrainTask:
        clients = np.concatenate([chunks[i] for i in mine])
        return TrainTask(
            round=round_number,
            attempt=state.attempt,
            parameters=state.optimizer.parameters,
            broadcast=state.rule.broadcast(),
            told=told,
            chunk_ids=tuple(mine),
            chunks=tuple(tuple(chunks[i].tolist()) for i in mine),
            noise_multipliers=self.mechanism.local_noise_multipliers(clients),
            states={k: state.states[k] for k in clients.tolist() if k in state.states},
            each=self.each,
        )

    def _assign(self, grid: Grid, chunks: Sequence[np.ndarray]) -> dict[int, list[int]]:
        """Node id -> its chunks: longest first to the node with least work, or each client to its own node."""
        nodes = sorted(grid.get_node_ids())
        if self.clients_per_node == 1:
            return {nodes[int(chunk[0])]: [i] for i, chunk in enumerate(chunks)}
        load = dict.fromkeys(nodes, 0)
        assigned: dict[int, list[int]] = {}
        work = [int(self.client_sizes[chunk].sum()) for chunk in chunks]
        for i in sorted(range(len(chunks)), key=lambda i: (-work[i], i)):
            node = min(nodes, key=lambda n: (load[n], n))
            load[node] += work[i]
            assigned.setdefault(node, []).append(i)
        return {node: sorted(mine) for node, mine in sorted(assigned.items())}

    def _reply(self, message: Message, sent: Sequence[Message]) -> TrainReply:
        """A node that could not answer at all counts as all of its clients failing."""
        if message.has_content():
            return TrainReply.from_record(message.content)
        lost = next(m for m in sent if m.metadata.dst_node_id == message.metadata.src_node_id)
        clients = TrainTask.from_record(lost.content).clients
        return TrainReply(
            chunk_ids=(),
            chunk_sizes=(),
            clients=np.asarray(clients, dtype=np.int64),
            status=np.full(len(clients), FAILED, dtype=np.int64),
            values=torch.zeros((0, self.layout.size), dtype=torch.float64),
            metrics={},
            states={},
            failures=dict.fromkeys(clients, message.error.reason or "the node could not answer"),
        )

    def _total(self, replies: Iterable[TrainReply]) -> torch.Tensor:
        """Chunk sums added in chunk order: the same bits whichever node answered first, or at all."""
        sums = {
            chunk: values
            for reply in replies
            for chunk, values in zip(reply.chunk_ids, self._chunk_sums(reply), strict=True)
        }
        total = self.mechanism.nothing(self.layout.size)
        for chunk in sorted(sums):
            total += sums[chunk]
        return total

    def _chunk_sums(self, reply: TrainReply) -> Iterable[torch.Tensor]:
        """One sum a chunk; where each client came by itself, added in the order the node would have used."""
        if not self.each:
            return reply.values.unbind(0)
        return [_sum(rows) for rows in reply.values.split(list(reply.chunk_sizes))]


def all_failed(round_number: int, failures: Mapping[int, str]) -> FedprivError:
    """A round in which nobody answered: the first client's failure is likely everybody's."""
    client, text = min(failures.items())
    return FedprivError(
        f"Round {round_number}: every client of the cohort failed; client {client} with: {' '.join(text.split())}"
    )


def _sum(rows: torch.Tensor) -> torch.Tensor:
    total = torch.zeros_like(rows[0])
    for row in rows:
        total += row
    return total


def _chunks(cohort: np.ndarray, size: int) -> list[np.ndarray]:
    """Even parts of at most ``size`` clients, and an even number of them, so that two workers have as much to do."""
    count = -(-len(cohort) // size)
    if count == 0:
        return []
    return np.array_split(cohort, min(count + count % 2, len(cohort)) if count > 1 else 1)


def _align(replies: Sequence[TrainReply], cohort: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Status and metrics of all replies in the cohort's order; clients never heard of have dropped out."""
    status = np.full(len(cohort), DROPPED, dtype=np.int64)
    metrics: dict[str, np.ndarray] = {}
    for reply in replies:
        rows = np.searchsorted(cohort, reply.clients)
        status[rows] = reply.status
        for name, values in reply.metrics.items():
            metrics.setdefault(name, np.full(len(cohort), np.nan))[rows] = values
    return status, metrics
