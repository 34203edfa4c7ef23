"""The Flower ServerApp: rounds until the last one that the budget allows."""

from collections.abc import Callable

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from .algorithm import FederatedAveraging, RoundOutcome, ServerState


def make_server_app(
    *,
    algorithm: FederatedAveraging,
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
