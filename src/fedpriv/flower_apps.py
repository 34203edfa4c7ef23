"""An experiment as the two apps of somebody's own Flower project (docs/flower.md)."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from fedpriv.config import compose
from fedpriv.experiment import Experiment, run
from fedpriv.experiment.nodes import make_app_elsewhere
from fedpriv.federation import EVALUATE_DIAGNOSTICS, App, ClientApp, Grid, ServerApp
from fedpriv.progress import TerminalReporter


class Apps(NamedTuple):
    """The two apps of a Flower project.

    Flower looks for plain assignments, so a project writes ``server_app = apps.server`` and not
    ``server_app, client_app = apps``.
    """

    server: ServerApp
    client: ClientApp


def make_apps(*overrides: str, config_dir: str | Path | None = None) -> Apps:
    """A ServerApp that runs the whole experiment, and a ClientApp that hosts any of its clients.

    The run folder, ledger and guarantee are those of ``fedpriv run``; ``output_dir`` should be absolute, since Flower
    chooses the folder that an app runs in. Every node loads the experiment's data, at its first message.

    Args:
        overrides: as on the command line, such as ``experiment=digits_smoke``.
        config_dir: a folder of the project's own groups and presets.

    Raises:
        ConfigError: from the apps, when they run.
    """
    folder = None if config_dir is None else Path(config_dir)

    @cache
    def client() -> App:
        return make_app_elsewhere(Experiment.assemble(compose(overrides, config_dir=folder)))

    def answer(message: Any, context: Any) -> Any:
        return client()(message, context)

    server_app, client_app = ServerApp(), ClientApp()

    @server_app.main()
    def main(grid: Grid, context: Any) -> None:
        run(compose(overrides, config_dir=folder), reporter=TerminalReporter(), grid=grid)

    hosts: list[Callable[..., Any]] = [
        client_app.train(),
        client_app.evaluate(),
        client_app.evaluate(EVALUATE_DIAGNOSTICS.partition(".")[2]),
    ]
    for host in hosts:
        host(answer)
    return Apps(server_app, client_app)
