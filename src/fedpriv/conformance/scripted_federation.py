"""Plays a script through the real thing: server, nodes and messages of a federation, only the training planted."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from flwr.app import Message
from torch import nn

from fedpriv.accounting.ledger import ReleaseEntry
from fedpriv.data import Dataset, Examples, FederatedData, federate
from fedpriv.federation import (
    FederatedAveraging,
    Node,
    PlainServerRule,
    ServerOptimizer,
    ServerState,
    TrainReply,
    make_client_app,
)
from fedpriv.models import ParameterLayout
from fedpriv.privacy import Mechanism, State
from fedpriv.runtimes import flower_private
from fedpriv.runtimes.inprocess import InProcessGrid
from fedpriv.streams import Streams, seed_key
from fedpriv.training import Classification, ClientResult, ClientWork, LocalTrainer, Task
from fedpriv.training.rules import PlainRule

from .subject import SERVER, Release, Report, Round

_PURPOSES = ("cohort", "batches", "dropout", "training", "noise", "commitment", "masks")
_NODES, _CHUNK = 2, 8


def streams_of(seed: int) -> Streams:
    """Every purpose's stream of one seed."""
    return Streams(keys=dict.fromkeys(_PURPOSES, seed_key(seed)))


def layout_of(start: Mapping[str, np.ndarray]) -> ParameterLayout:
    """The real parameters. Integers are buffers, which never travel."""
    real = {name: torch.from_numpy(np.asarray(value)) for name, value in start.items() if value.dtype.kind == "f"}
    return ParameterLayout(
        names=tuple(real),
        shapes=tuple(tuple(value.shape) for value in real.values()),
        dtypes=tuple(value.dtype for value in real.values()),
    )


def flatten(layout: ParameterLayout, update: Mapping[str, np.ndarray]) -> torch.Tensor:
    return layout.flatten({name: torch.as_tensor(np.asarray(update[name])) for name in layout.names})


@dataclass(frozen=True, kw_only=True)
class PlannedTrainer:
    """Clients come back with their reports; one without is never heard of again."""

    layout: ParameterLayout
    reports: Sequence[Report]

    def train(self, start: torch.Tensor, work: Sequence[ClientWork]) -> Iterator[ClientResult]:
        by_client = {report.client: report for report in self.reports}
        for item in work:
            if item.client_id in by_client:
                update = flatten(self.layout, by_client[item.client_id].update)
                yield ClientResult(client_id=item.client_id, update=update)


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A sampler that asks whom the script asks."""

    clients: np.ndarray

    def cohort(self, round_number: int) -> np.ndarray:
        return self.clients


@dataclass
class _Replies:
    """Sees what each client sends."""

    release: dict[int, torch.Tensor] = field(default_factory=dict)

    def saw(self, round_number: int, sent: Sequence[Message], received: Sequence[Message]) -> None:
        for message in received:
            reply = TrainReply.from_record(message.content)
            rows = zip(reply.clients.tolist(), reply.values, strict=True)
            self.release.update(rows)


@dataclass(kw_only=True)
class ScriptedFederation:
    """A federation between two rounds.

    Args:
        mechanism: real.
        start: parameters before the next round.
        permit: is given each entry before the round's first message.
        round: last completed round; ``kept``: what the mechanism has kept of it, None before the first.
    """

    mechanism: Mechanism
    start: Mapping[str, np.ndarray]
    seed: int
    permit: Callable[[ReleaseEntry], None]
    round: int
    attempt: int
    make_data: Callable[[Round], FederatedData]
    make_trainer: Callable[[ParameterLayout, Round], LocalTrainer]
    task: Task = field(default_factory=partial(Classification, num_classes=2))
    each: bool = False
    kept: State | None = None

    def __post_init__(self) -> None:
        self.layout = layout_of(self.start)
        self._start = self.layout.flatten({name: torch.from_numpy(np.asarray(v)) for name, v in self.start.items()})

    @property
    def state(self) -> State:
        """The mechanism's, as it is now."""
        return self.mechanism.initial_state() if self.kept is None else self.kept

    def play(self, round_: Round) -> Release:
        """One round through real messages: how the parameters moved, or with ``each`` what each client sent."""
        step = partial(torch.optim.SGD, lr=1.0)
        optimizer = ServerOptimizer(layout=self.layout, start=self._start, make_optimizer=step)
        data, seen = self.make_data(round_), _Replies()
        weights = np.ones(data.num_clients)
        for report in round_.reports:
            weights[report.client] = 1.0 if self.each else report.num_examples
        state = ServerState(
            round=self.round,
            attempt=self.attempt,
            optimizer=optimizer,
            rule=PlainServerRule(),
            mechanism=self.state,
        )
        algorithm = FederatedAveraging(
            layout=self.layout,
            sampler=_Asked(clients=np.array(round_.asked, dtype=np.int64)),  # type: ignore[arg-type]
            mechanism=self.mechanism,
            client_sizes=data.client_sizes,
            weights=weights,
            chunk_size=_CHUNK,
            clients_per_node=None,
            permit=self.permit,
            observers=(seen,) if self.each else (),
            each=self.each,
        )
        algorithm.run_round(self._grid(round_, data, weights), state)
        before, self._start = self._start, self.layout.flatten(optimizer.parameters)
        self.round, self.kept = state.round, state.mechanism
        moved = seen.release if self.each else {SERVER: self._start - before}
        return {releaser: self._with_integers(movement) for releaser, movement in moved.items()}

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """As they are now."""
        return {**self.start, **{name: t.numpy() for name, t in self.layout.unflatten(self._start).items()}}

    def _grid(self, round_: Round, data: FederatedData, weights: np.ndarray) -> InProcessGrid:
        flower_private.become_server()
        node = Node(
            data=data,
            model=nn.Module(),
            layout=self.layout,
            trainer=self.make_trainer(self.layout, round_),
            rule=PlainRule(),
            weights=weights,
            task=self.task,
            mechanism=self.mechanism,
            streams=streams_of(self.seed),
            dropout=0.0,
            device=torch.device("cpu"),
        )
        app = make_client_app(node, discreet=False)

        def execute(messages: Sequence[Message]) -> list[Message]:
            return [app(message, flower_private.node_context(message.metadata.dst_node_id)) for message in messages]

        return InProcessGrid(node_ids=range(1, _NODES + 1), execute=execute)

    def _with_integers(self, movement: torch.Tensor) -> np.ndarray:
        sizes = [math.prod(shape) for shape in self.layout.shapes]
        split = torch.split(movement.double(), sizes)
        parts = {name: part.numpy() for name, part in zip(self.layout.names, split, strict=True)}
        return np.concatenate([parts.get(name, np.zeros(np.size(value))) for name, value in self.start.items()])


def planned_trainer(layout: ParameterLayout, round_: Round) -> LocalTrainer:
    return PlannedTrainer(layout=layout, reports=round_.reports)


def clients_with(examples: Mapping[int, np.ndarray], *, population: int) -> FederatedData:
    """Clients 0 ... population - 1; those named hold these rows, shape (n, width), finite or not, and targets of 0."""
    x = np.concatenate([np.zeros((1, next(iter(examples.values())).shape[1])), *examples.values()]).astype(np.float32)
    owners = np.concatenate([[-1], *(np.full(len(mine), client) for client, mine in examples.items())])
    y = np.zeros(len(x), dtype=np.int64)
    planned = Dataset(
        train=Examples(x=np.zeros_like(x), y=y),
        test=Examples(x=np.zeros_like(x[:1]), y=y[:1]),
        users=None,
        num_classes=2,
        normalisation=None,
        groups={},
        public=True,
    )
    data = federate(planned, owners.astype(np.int64), num_clients=population, min_examples=0)
    return replace(data, train=Examples(x=x, y=y))  # a dataset would refuse what is not finite
