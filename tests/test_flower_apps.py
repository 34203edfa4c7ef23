"""An experiment inside somebody else's Flower project: their Grid, our apps."""

import os
import random
import socket
import subprocess
import sys
import textwrap
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from flwr.app import Context, RecordDict

from crash.runs import Result, ledger, only_run, run_json
from fedpriv.errors import ConfigError, FedprivError
from fedpriv.flower_apps import make_apps
from fedpriv.runtimes import flower_private
from fedpriv.runtimes.given_grid import run_on_grid
from fedpriv.runtimes.inprocess import InProcessGrid

FOUR = ("experiment=digits_smoke", "partition.num_clients=4", "rounds=2")


def foreign_grid(client_app, nodes: int) -> InProcessGrid:
    """Nodes with ids that say nothing, and contexts of their own."""
    flower_private.become_server()
    ids = random.Random(3).sample(range(10**6), nodes)

    def execute(batch):
        return [
            client_app(
                message,
                Context(1, message.metadata.dst_node_id, {"partition-id": 0}, RecordDict(), run_config={}),
            )
            for message in batch
        ]

    return InProcessGrid(node_ids=ids, execute=execute)


def server_context() -> Context:
    return Context(1, 1, {}, RecordDict(), run_config={})


@pytest.mark.parametrize(
    ("given", "nodes"),
    [
        ((), 3),
        (("privacy=central", "privacy.epsilon=50"), 2),
        (("clients_per_node=1", "strategy=scaffold"), 4),
        (("strategy=flower", "strategy.flower._target_=flwr.serverapp.strategy.FedMedian"), 4),
    ],
    ids=["example", "central", "a node a client", "stock"],
)
def test_on_somebody_elses_nodes_a_run_is_the_same(given, nodes, tmp_path, run_digits):
    server_app, client_app = make_apps(*FOUR, *given, f"output_dir={tmp_path}", "evaluation.clients=false")
    server_app(foreign_grid(client_app, nodes), server_context())
    folder = only_run(tmp_path)
    assert run_json(folder)["status"] == "completed"
    at_home = run_digits(*FOUR[1:], *given)
    assert folder.name == at_home.folder.name
    assert Result.of(folder) == Result.of(at_home.folder)


def test_nothing_is_loaded_before_the_first_message(tmp_path):
    server_app, client_app = make_apps("experiment=nothing", f"output_dir={tmp_path}")
    with pytest.raises(ConfigError, match="nothing"):
        server_app(foreign_grid(client_app, 1), server_context())


def test_presets_of_the_projects_own_are_found(tmp_path):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "ours.yaml").write_text(
        "# @package _global_\ndefaults:\n  - digits_smoke\nname: ours\nrounds: 1\n"
    )
    overrides = ("experiment=ours", "privacy=none", f"output_dir={tmp_path / 'out'}")
    server_app, client_app = make_apps(*overrides, config_dir=tmp_path / "mine")
    server_app(foreign_grid(client_app, 1), server_context())
    assert only_run(tmp_path / "out").parent.name == "ours"


def test_interrupted_elsewhere_it_pays_again_since_nodes_may_be_other_machines(tmp_path, monkeypatch):
    from fedpriv.progress import TerminalReporter

    given = (*FOUR, "rounds=3", "privacy.epsilon=null", "privacy.noise_multiplier=2", f"output_dir={tmp_path}")
    server_app, client_app = make_apps(*given)

    def impatient(self, row, failures):
        raise FedprivError("the SuperLink is gone")

    with monkeypatch.context() as patch:
        patch.setattr(TerminalReporter, "round_done", impatient)
        with pytest.raises(FedprivError):
            server_app(foreign_grid(client_app, 2), server_context())
    server_app(foreign_grid(client_app, 2), server_context())
    folder = only_run(tmp_path)
    assert [(e.round, e.attempt) for e in ledger(folder)] == [(1, 0), (1, 1), (2, 1), (3, 1)]


def test_a_secret_that_nodes_would_have_to_know_is_refused(tmp_path):
    server_app, client_app = make_apps(*FOUR, "seeds.noise=secret", f"output_dir={tmp_path}")
    with pytest.raises(ConfigError, match="nodes draw the noise"):
        server_app(foreign_grid(client_app, 2), server_context())
    assert not list(tmp_path.glob("*"))
    central = make_apps(*FOUR, "privacy=central", "seeds.noise=secret", f"output_dir={tmp_path}")
    central[0](foreign_grid(central[1], 2), server_context())
    assert run_json(only_run(tmp_path))["guarantee"]["noise_secret"] is True


def test_too_few_nodes_are_waited_for_but_not_for_ever():
    grid = InProcessGrid(node_ids=[5], execute=lambda batch: [])
    with pytest.raises(FedprivError, match="1 of 4 nodes"):
        run_on_grid(grid, server_app=None, num_nodes=4, patience=0.0, started=lambda pids: None)


# -- the real thing ----------------------------------------------------------------------------------------

PYPROJECT = """
[project]
name = "theirs"
version = "1.0.0"
license = "Apache-2.0"

[tool.hatch.build.targets.wheel]
packages = ["."]

[tool.flwr.app]
publisher = "someone"

[tool.flwr.app.components]
serverapp = "theirs.apps:server_app"
clientapp = "theirs.apps:client_app"

[tool.flwr.app.config]
"""


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]


_NO_INSTALL = "--disable-runtime-dependency-installation"


class Cluster:
    """A SuperLink and SuperNodes of its own, which end with it."""

    def __init__(self, folder: Path, nodes: int) -> None:
        self.home, self._log = folder / "flwr", folder / "cluster.log"
        self.home.mkdir()
        self._processes: list[subprocess.Popen] = []
        bin_folder = Path(sys.executable).parent
        self.env = {
            **os.environ,
            "FLWR_HOME": str(self.home),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
        }
        self._nodes = nodes

    def __enter__(self) -> "Cluster":
        superlink, *own = free_ports(1 + self._nodes)
        address = f"127.0.0.1:{superlink}"
        try:
            self._start("flower-superlink", "--insecure", "--host", "127.0.0.1", "--port", str(superlink), _NO_INSTALL)
            self._wait_for(superlink)
            for i, port in enumerate(own):
                self._start("flower-supernode", "--insecure", "--superlink", address, "--port", str(port),
                            "--node-config", f"partition-id={i} num-partitions={self._nodes}")  # fmt: skip
            (self.home / "config.toml").write_text(
                f'[superlink]\ndefault = "here"\n\n[superlink.here]\naddress = "{address}"\ninsecure = true\n'
            )
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            with ExitStack() as stack:
                stack.callback(process.wait, 30)
                process.terminate()
        for process in self._processes:  # whatever they started leads no group of its own
            try:
                os.killpg(process.pid, 9)
            except ProcessLookupError:
                continue

    def _start(self, *words: str) -> None:
        with self._log.open("a") as log:
            process = subprocess.Popen(words, env=self.env, stdout=log, stderr=log, start_new_session=True)
        self._processes.append(process)

    def _wait_for(self, port: int) -> None:
        end = time.monotonic() + 120
        while time.monotonic() < end:
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.2)
        raise AssertionError(self._log.read_text())

    def run(self, project: Path) -> str:
        done = subprocess.run(
            ["flwr", "run", str(project), "here", "--stream"],
            env=self.env, capture_output=True, text=True, timeout=500,
        )  # fmt: skip
        return done.stdout + done.stderr + self._log.read_text()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_real_superlink_and_supernodes_run_it(tmp_path, run_digits):
    project = tmp_path / "project"
    (project / "theirs").mkdir(parents=True)
    (project / "pyproject.toml").write_text(PYPROJECT)
    (project / "theirs" / "__init__.py").write_text("")
    given = [*FOUR[:2], "rounds=1", "evaluation.clients=false", f"output_dir={tmp_path / 'out'}"]
    (project / "theirs" / "apps.py").write_text(
        textwrap.dedent(f"""
            from fedpriv.flower_apps import make_apps

            apps = make_apps(*{given!r})
            server_app = apps.server
            client_app = apps.client
        """)
    )
    with Cluster(tmp_path, nodes=2) as cluster:
        told = cluster.run(project)
    assert (tmp_path / "out").exists(), told
    folder = only_run(tmp_path / "out")
    assert run_json(folder)["status"] == "completed", told
    assert Result.of(folder) == Result.of(run_digits(FOUR[1], "rounds=1").folder)
