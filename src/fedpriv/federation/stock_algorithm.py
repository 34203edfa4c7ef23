"""A round by a stock Flower strategy: it chooses whom to ask and aggregates; fedpriv pays, sends and records."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, final

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from torch import nn

from fedpriv.accounting.ledger import ReleaseEntry
from fedpriv.errors import FedprivError
from fedpriv.models import ParameterLayout
from fedpriv.privacy import Mechanism
from fedpriv.streams import Streams, global_coins

from .algorithm import Observer, RoundOutcome, ServerState, all_failed
from .messages import DROPPED, FAILED, REPLIED, EvaluateReply, EvaluateTask
from .stock_client import DIAGNOSTICS, EVALUATE_DIAGNOSTICS, UNAVAILABLE
from .stock_nodes import StockNodes
from .stock_settings import Settings, trespass
from .stock_world import quiet_flower


@final
class StockAlgorithm:
    """The server's side of any ``flwr.serverapp.strategy.Strategy``: the body of its ``start``, with a ledger.

    Nothing of what the strategy keeps is checkpointed: a resumed run starts again from round 1.

    Args:
        strategy: fresh.
        model: with the initial weights; takes what the strategy aggregates.
        whole: whether the arrays are the model's whole state dict (a ClientApp of one's own), or its layout.
        clients: ids of those who may be trained.
        pay_for_all: whether every round's entry names all clients, whoever is asked.
        train_config: what every train message says, beside what the strategy adds.
        permit: writes the ledger entry so that it survives a crash; called before the round's first message.
        observers: see the round's train messages.
    """

    def __init__(
        self,
        *,
        strategy: Strategy,
        model: nn.Module,
        layout: ParameterLayout,
        whole: bool,
        clients: np.ndarray,
        pay_for_all: bool,
        mechanism: Mechanism,
        streams: Streams,
        train_config: Mapping[str, Any],
        permit: Callable[[ReleaseEntry], None],
        observers: Sequence[Observer],
    ) -> None:
        self._strategy, self._model, self._layout = strategy, model, layout
        self._clients, self._pay_for_all = clients, pay_for_all
        self._mechanism, self._streams = mechanism, streams
        self._permit, self._observers = permit, observers
        state = model.state_dict()
        self._arrays = ArrayRecord({name: state[name].cpu() for name in (state if whole else layout.names)})
        # As in Strategy.start: one for the whole run, since some strategies leave notes in it.
        self._configs = {MessageType.TRAIN: ConfigRecord(dict(train_config)), MessageType.EVALUATE: ConfigRecord()}

    def run_round(self, grid: Grid, state: ServerState) -> RoundOutcome:
        """One round; ``state`` moves only if all of it succeeded."""
        round_number, nodes = state.round + 1, StockNodes(grid, clients=self._clients)
        sent = self._configured(MessageType.TRAIN, nodes, state)
        cohort = np.array(sorted(sent), dtype=np.int64)
        # A strategy that chooses clients by what they sent would let what a client pays depend on its data: then
        # the number of releases must be fixed beforehand, and it is, if all clients pay for every round.
        paying = self._clients if self._pay_for_all else cohort
        entries = self._mechanism.entries(
            round_number=round_number, attempt=state.attempt, cohort=paying, state=state.mechanism
        )
        for entry in entries:
            self._permit(entry)

        replies = _exchange(grid, nodes, sent)
        for observer in self._observers:
            observer.saw(round_number, list(sent.values()), list(replies.values()))
        status, failures = _judge(cohort, replies)
        metrics = _take_diagnostics(cohort, replies)
        if len(cohort) and np.all(status == FAILED):
            raise all_failed(round_number, failures)
        with self._at_work(round_number, 1):
            arrays, _ = self._strategy.aggregate_train(round_number, list(replies.values()))
        if arrays is not None:
            self._take(arrays, state)
        self._evaluate(grid, nodes, state)
        state.round = round_number
        return RoundOutcome(
            aborted=False,
            round=round_number, entries=entries, cohort=cohort, status=status, metrics=metrics, failures=failures
        )

    def evaluate_clients(self, grid: Grid, state: ServerState, clients: np.ndarray) -> dict[str, np.ndarray]:
        """Per-client metrics of the global parameters, aligned with ``clients`` (a diagnostic)."""
        nodes = StockNodes(grid, clients=clients)
        asked = {}
        for client in clients.tolist():
            task = EvaluateTask(parameters=state.optimizer.parameters, clients=(client,), states={})
            asked[client] = Message(
                task.to_record(), dst_node_id=nodes.node(client), message_type=EVALUATE_DIAGNOSTICS
            )
        replies = {
            client: EvaluateReply.from_record(reply.content)
            for client, reply in _exchange(grid, nodes, asked).items()
            if reply.has_content()
        }
        names = sorted({name for reply in replies.values() for name in reply.metrics})
        return {
            name: np.array(
                [replies[k].metrics[name][0] if k in replies else np.nan for k in clients.tolist()], dtype=np.float64
            )
            for name in names
        }

    def _configured(self, kind: str, nodes: StockNodes, state: ServerState) -> dict[int, Message]:
        """Client -> the message that the strategy has for it, in the order of clients.

        Each gets records of its own: strategies share one among all, and mods change what they are handed.
        """
        round_number, train = state.round + 1, kind == MessageType.TRAIN
        configure = self._strategy.configure_train if train else self._strategy.configure_evaluate
        with self._at_work(round_number, 0 if train else 2):
            messages = list(configure(round_number, self._arrays.copy(), self._configs[kind], nodes))
        found: dict[int, Message] = {}
        for message in messages:
            client = nodes.client(message.metadata.dst_node_id)
            wrong_kind = message.metadata.message_type.split(".")[0] != kind
            if client is None or client in found or wrong_kind or message.metadata.message_type == EVALUATE_DIAGNOSTICS:
                raise FedprivError(
                    f"{self._name} asks node {message.metadata.dst_node_id} for {message.metadata.message_type!r} in "
                    f"the {kind} phase: each node of the Grid can be sent one {kind} message a round."
                )
            if said := trespass(message.content, round_number=round_number):
                raise FedprivError(
                    f"{self._name} sends {said}: round, client and noise of a message are those that the ledger names, "
                    "and no strategy's to set. Leave it out of configure_train and configure_evaluate."
                )
            settings = Settings(
                round=round_number,
                client=client,
                attempt=state.attempt,
                noise_multiplier=float(self._mechanism.local_noise_multipliers(np.array([client]))[0]),
            )
            found[client] = Message(
                settings.added_to(message.content),
                dst_node_id=message.metadata.dst_node_id,
                message_type=message.metadata.message_type,
                group_id=str(round_number),
            )
        return {client: found[client] for client in sorted(found)}

    def _evaluate(self, grid: Grid, nodes: StockNodes, state: ServerState) -> None:
        """The strategy's own evaluation, where it configures one. What comes of it is the strategy's."""
        asked = self._configured(MessageType.EVALUATE, nodes, state)
        replies = _exchange(grid, nodes, asked)
        with self._at_work(state.round + 1, 3):
            self._strategy.aggregate_evaluate(state.round + 1, list(replies.values()))

    def _take(self, arrays: ArrayRecord, state: ServerState) -> None:
        """The aggregate becomes the global model. Arrays keep the strategy's dtype for the next round."""
        tensors = arrays.to_torch_state_dict()
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if shapes != {name: tuple(array.shape) for name, array in self._arrays.items()}:
            raise FedprivError(f"{self._name} made arrays of other names or shapes than the model's.")
        self._arrays = arrays.copy()
        self._model.load_state_dict(tensors, strict=False)
        moved = self._layout.unflatten(self._layout.from_module(self._model))
        state.optimizer.load_tensors({f"parameters/{name}": tensor for name, tensor in moved.items()})

    @property
    def _name(self) -> str:
        return type(self._strategy).__name__

    @contextmanager
    def _at_work(self, round_number: int, phase: int) -> Iterator[None]:
        """The strategy's code runs: with coins of this round's, without its log, its errors as fedpriv's."""
        with quiet_flower(), global_coins(self._streams.rng("cohort", round_number, phase)):
            try:
                yield
            except FedprivError:
                raise
            except Exception as error:
                raise FedprivError(
                    f"Round {round_number}: {self._name} failed: {type(error).__name__}: {error}"
                ) from error


def _exchange(grid: Grid, nodes: StockNodes, sent: Mapping[int, Message]) -> dict[int, Message]:
    """Client -> reply, in the order of clients, whoever answered first."""
    received = list(grid.send_and_receive(list(sent.values()))) if sent else []
    by_client = {nodes.client(reply.metadata.src_node_id): reply for reply in received}
    return {client: by_client[client] for client in sent if client in by_client}


def _judge(cohort: np.ndarray, replies: Mapping[int, Message]) -> tuple[np.ndarray, dict[int, str]]:
    """Status of each client; and of those that failed, why."""
    status, failures = np.full(len(cohort), DROPPED, dtype=np.int64), {}
    for row, client in enumerate(cohort.tolist()):
        reply = replies.get(client)
        if reply is None:
            continue
        if reply.has_content():
            status[row] = REPLIED
        elif reply.error.code != UNAVAILABLE:
            status[row] = FAILED
            failures[client] = reply.error.reason or "the node could not answer"
    return status, failures


def _take_diagnostics(cohort: np.ndarray, replies: Mapping[int, Message]) -> dict[str, np.ndarray]:
    """Per-client metrics, aligned with the cohort; fedpriv's own leave the replies, which the strategy is to see."""
    metrics: dict[str, np.ndarray] = {}
    for row, client in enumerate(cohort.tolist()):
        if client not in replies or not replies[client].has_content():
            continue
        content = replies[client].content
        found = content.pop(DIAGNOSTICS) if DIAGNOSTICS in content else _of_a_stranger(content)
        for name, value in found.items():
            metrics.setdefault(name, np.full(len(cohort), np.nan))[row] = value
    return metrics


def _of_a_stranger(content: RecordDict) -> dict[str, float]:
    """Loss and examples under the names that Flower's examples give them."""
    told = {name: value for record in content.metric_records.values() for name, value in record.items()}
    loss, examples = told.get("train_loss"), told.get("num-examples")
    if not isinstance(loss, int | float) or not isinstance(examples, int | float):
        return {}
    return {"loss": float(loss), "examples": float(examples)}
