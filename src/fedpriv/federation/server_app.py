"""The Flower ServerApp: rounds until the last one that the budget allows."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from .algorithm import RoundOutcome, ServerState


class Algorithm(Protocol):
    """The server's side of a federated algorithm."""

    def run_round(self, grid: Grid, state: ServerState) -> RoundOutcome:
        """One round; ``state`` moves only if all of it succeeded."""
        ...

    def evaluate_clients(self, grid: Grid, state: ServerState, clients: np.ndarray) -> dict[str, np.ndarray]:
        """Per-client metrics of the global parameters, aligned with ``clients`` (a diagnostic)."""
        ...


def make_server_app(
    *,
    algorithm: Algorithm,
    state: ServerState,
    last_round: int,
    after_round: Callable[[RoundOutcome], None],
    finish: Callable[[Grid], None],
) -> ServerApp:
    """A ServerApp that trains from ``state`` to ``last_round``.

    Args:
        after_round: records, evaluates and checkpoints a completed round.
        finish: what is done once after the last round, with the nodes still there.
    """
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        while state.round < last_round:
            after_round(algorithm.run_round(grid, state))
        finish(grid)

    return app
