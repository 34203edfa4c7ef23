"""The Flower ClientApp: one message in, one message out."""

from collections.abc import Sequence

import numpy as np
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fedpriv.errors import FedprivError

from .discretion import needed_only, unmeasured
from .messages import EvaluateTask, TrainTask
from .node import Node


def make_client_app(node: Node, *, discreet: bool) -> ClientApp:
    """A ClientApp that hosts ``node``'s clients.

    Args:
        discreet: whether the server is told only what the algorithm needs, and no diagnostics.
    """
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        task = TrainTask.from_record(message.content)
        check_population(node, task.clients)
        reply = node.train(task)
        return Message((needed_only(reply) if discreet else reply).to_record(), reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        task = EvaluateTask.from_record(message.content)
        reply = unmeasured(task) if discreet else node.evaluate(task)
        return Message(reply.to_record(), reply_to=message)

    return app


def check_population(node: Node, clients: Sequence[int]) -> None:
    """Raise FedprivError for a client that may not be trained, whoever asks: it is held out, or there is none."""
    asked = np.asarray(clients, dtype=np.int64)
    if strangers := asked[~np.isin(asked, node.data.population_ids)].tolist():
        raise FedprivError(
            f"Clients {strangers} are held out of training, or do not exist. Nothing was trained."
        )
