"""The nodes as a stock strategy sees them: one for each client that may be trained."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from flwr.app import Message
from flwr.serverapp import Grid

from fedpriv.errors import FedprivError


class StockNodes(Grid):
    """A Grid that only lists nodes. Node by node, in the order of their ids, they host clients 0, 1, 2, ...

    A strategy says whom it asks for what (``configure_train``), and fedpriv sends it: what a strategy sent by itself
    would be in no ledger.

    Args:
        clients: ids of those who may be trained; the others' nodes are not shown.

    Raises:
        FedprivError: fewer nodes than clients.
    """

    def __init__(self, grid: Grid, *, clients: np.ndarray) -> None:
        nodes = sorted(grid.get_node_ids())
        if len(clients) and len(nodes) <= int(clients.max()):
            raise FedprivError(f"{len(nodes)} nodes are there, but every client needs one of its own.")
        self._grid = grid
        self._node_of = {int(client): nodes[int(client)] for client in clients}
        self._client_of = {node: client for client, node in self._node_of.items()}

    def node(self, client: int) -> int:
        """The node that hosts a client."""
        return int(self._node_of[client])

    def client(self, node: int) -> int | None:
        """The client that a node hosts; None for a node that is not shown."""
        return self._client_of.get(node)

    def get_node_ids(self) -> Iterable[int]:
        return list(self._client_of)

    @property
    def run(self) -> Any:
        return self._grid.run

    def set_run(self, run: Any) -> None:
        raise _not_by_itself("set the run")

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        """Deprecated in Flower; make a ``flwr.app.Message`` instead."""
        raise NotImplementedError("Make a flwr.app.Message; Grid.create_message is deprecated in Flower.")

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        raise _not_by_itself("send messages")

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        raise _not_by_itself("receive messages")

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        raise _not_by_itself("send messages")


def _not_by_itself(what: str) -> FedprivError:
    return FedprivError(
        f"A strategy cannot {what} by itself: fedpriv sends what configure_train and configure_evaluate return, so "
        "that the ledger knows of it."
    )
