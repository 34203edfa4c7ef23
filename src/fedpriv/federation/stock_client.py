"""A ClientApp in Flower's own dialect: arrays and a config come in, trained arrays and metrics go out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fedpriv.errors import FedprivError
from fedpriv.streams import Streams, global_coins

from .client_app import check_population
from .discretion import needed_only, unmeasured
from .messages import DROPPED, FAILED, EvaluateTask, TrainReply, TrainTask
from .node import Node
from .stock_settings import ROUND, Settings
from .stock_world import quiet_flower

App = Callable[[Message, Context], Message]

# A ConfigRecord of a reply: metrics on training data, which are taken out before the strategy sees the reply.
DIAGNOSTICS = "fedpriv.diagnostics"
# The message type by which fedpriv itself, and no strategy, asks for metrics.
EVALUATE_DIAGNOSTICS = "evaluate.diagnostics"
# Flower's error codes NODE_UNAVAILABLE and CLIENT_APP_RAISED_EXCEPTION.
UNAVAILABLE, RAISED = 5, 2


def make_stock_client_app(node: Node, *, private: bool, discreet: bool, mods: Sequence[Any]) -> ClientApp:
    """A ClientApp for stock strategies: the client that a message (or the node's config) names trains or evaluates.

    Args:
        node: with weight 1 for every client.
        private: whether clients run DP-SGD. Then a strategy is told nothing but the private parameters and the number
            of examples, which counts as public: a loss or an accuracy would be a second release.
        discreet: whether fedpriv's own server, too, is told only what the algorithm needs, and no diagnostics.
        mods: Flower mods around training.
    """
    app = ClientApp()

    @app.train(mods=list(mods))
    def train(message: Message, context: Context) -> Message:
        settings = Settings.of(message.content, context)
        client, (key, arrays) = settings.client, _asked(message.content, settings)
        check_population(node, [client])
        if private and np.isnan(settings.noise_multiplier) and node.data.client_sizes[client] > 0:
            raise FedprivError("A message without a noise multiplier: its sender keeps no ledger. Nothing was trained.")
        parameters = arrays.to_torch_state_dict()
        reply = node.train(
            TrainTask(
                round=settings.round,
                attempt=settings.attempt,
                parameters=parameters,
                broadcast={},
                told={},
                chunk_ids=(0,),
                chunks=((client,),),
                noise_multipliers=np.array([settings.noise_multiplier]),
                states={},
                each=True,
            )
        )
        reply = needed_only(reply) if discreet else reply
        if reply.status[0] in (DROPPED, FAILED):
            code = UNAVAILABLE if reply.status[0] == DROPPED else RAISED
            return Message(Error(code, reply.failures.get(client, "dropped out")), reply_to=message)
        trained = node.layout.unflatten(node.layout.flatten(parameters) + reply.values[0])
        found = _diagnostics(reply)
        metrics: dict[str, Any] = {"num-examples": int(node.data.client_sizes[client])}
        if not private:
            metrics["train_loss"] = found.get("loss", np.nan)
        content = {
            key: ArrayRecord({**parameters, **trained}),
            "metrics": MetricRecord(metrics),
            DIAGNOSTICS: ConfigRecord(dict(found)),
        }
        return Message(RecordDict(content), reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        settings = Settings.of(message.content, context)
        client, (_, arrays) = settings.client, _asked(message.content, settings)
        check_population(node, [client])
        reply = node.evaluate(EvaluateTask(parameters=arrays.to_torch_state_dict(), clients=(client,), states={}))
        measured = {name: float(values[0]) for name, values in reply.metrics.items()}
        examples = int(np.nan_to_num(measured.pop("examples")))
        metrics = MetricRecord({"num-examples": examples, **({} if private else measured)})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    @app.evaluate("diagnostics")
    def diagnose(message: Message, context: Context) -> Message:
        task = EvaluateTask.from_record(message.content)
        reply = unmeasured(task) if discreet else node.evaluate(task)
        return Message(reply.to_record(), reply_to=message)

    return app


@dataclass(frozen=True, kw_only=True)
class HostedApp:
    """A ClientApp, anyone's, as Flower would run it on a node.

    Its context says which partition it holds, a client that raises answers with an error, and the coins it takes from
    global generators are a function of round, client and attempt.

    Args:
        run_config: what the app finds in ``context.run_config``, where Flower has not put it already.
    """

    app: App
    streams: Streams
    num_clients: int
    run_config: Mapping[str, Any]

    def __call__(self, message: Message, context: Context) -> Message:
        settings = Settings.of(message.content, context)
        partition = {"partition-id": settings.client, "num-partitions": self.num_clients}
        context.node_config = {**partition, **context.node_config}
        context.run_config = {**self.run_config, **context.run_config}
        rng = self.streams.rng("training", settings.round, settings.client, settings.attempt, 1)
        with quiet_flower(), global_coins(rng):
            try:
                return self.app(message, context)
            except Exception as error:  # as in training: one client's failure is not the run's
                return Message(Error(RAISED, f"{type(error).__name__}: {error}"), reply_to=message)


def _asked(content: RecordDict, settings: Settings) -> tuple[str, ArrayRecord]:
    """The message's one ArrayRecord, under its key."""
    arrays = dict(content.array_records)
    if len(arrays) != 1 or settings.round < 1:
        said = sorted(name for record in content.config_records.values() for name in record)
        raise FedprivError(
            f"fedpriv's clients take one ArrayRecord and a ConfigRecord with {ROUND}, but the strategy sent "
            f"{len(arrays)} ArrayRecords and the settings {said}. Give strategy.client_app the ClientApp "
            "that the strategy was written for."
        )
    ((key, record),) = arrays.items()
    return key, record


def _diagnostics(reply: TrainReply) -> dict[str, float]:
    return {name: float(values[0]) for name, values in reply.metrics.items()}
