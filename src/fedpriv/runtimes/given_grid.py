"""Somebody else's Grid: the nodes are there, or will be; whoever runs them also ends them."""

import time
from collections.abc import Callable

from flwr.serverapp import Grid, ServerApp

from fedpriv.errors import FedprivError

from . import flower_private

_POLL_SECONDS = 0.5


def run_on_grid(
    grid: Grid,
    *,
    server_app: ServerApp,
    num_nodes: int,
    patience: float,
    started: Callable[[list[int]], None],
) -> None:
    """Run a ServerApp against the nodes of ``grid`` until it returns.

    Args:
        num_nodes: how many must be connected before it starts.
        patience: seconds to wait for them.
        started: is told when they are there, with the process ids of no workers.

    Raises:
        FedprivError: too few nodes came.
    """
    end = time.monotonic() + patience
    while (found := len(list(grid.get_node_ids()))) < num_nodes:
        if time.monotonic() > end:
            raise FedprivError(f"{found} of {num_nodes} nodes have connected in {patience:g} s. Start the others.")
        time.sleep(_POLL_SECONDS)
    started([])
    server_app(grid, flower_private.node_context(flower_private.SERVER_NODE_ID))
