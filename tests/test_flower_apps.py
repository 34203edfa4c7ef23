"""An experiment inside somebody else's Flower project: their Grid, our apps."""

import copy
import dataclasses
import os
import random
import re
import socket
import subprocess
import sys
import textwrap
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict

from crash.runs import Result, ledger, only_run, run_json
from fedpriv.config import compose
from fedpriv.data import FederatedData
from fedpriv.errors import ConfigError, FedprivError
from fedpriv.experiment import Experiment, resume
from fedpriv.experiment.nodes import make_app_elsewhere
from fedpriv.federation import EVALUATE_DIAGNOSTICS, EvaluateReply, EvaluateTask, TrainReply, TrainTask
from fedpriv.federation.stock_settings import Settings
from fedpriv.flower_apps import make_apps
from fedpriv.progress import TerminalReporter
from fedpriv.records.tables import read_table
from fedpriv.runtimes import flower_private
from fedpriv.runtimes.given_grid import run_on_grid
from fedpriv.runtimes.inprocess import InProcessGrid

FOUR = ("experiment=digits_smoke", "partition.num_clients=4", "rounds=2")


def foreign_grid(client_app, nodes: int, *, seen: list | None = None) -> InProcessGrid:
    """Nodes with ids that say nothing, and contexts of their own; ``seen`` gets copies of what they answer."""
    flower_private.become_server()
    ids = random.Random(3).sample(range(10**6), nodes)

    def execute(batch):
        replies = [
            client_app(
                message,
                Context(1, message.metadata.dst_node_id, {"partition-id": 0}, RecordDict(), run_config={}),
            )
            for message in batch
        ]
        if seen is not None:
            seen.extend(copy.deepcopy(replies))
        return replies

    return InProcessGrid(node_ids=ids, execute=execute)


def server_context() -> Context:
    return Context(1, 1, {}, RecordDict(), run_config={})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "nodes"),
    [
        pytest.param((), 3, marks=pytest.mark.slow),
        (("privacy=central", "privacy.epsilon=50"), 2),
        pytest.param(("clients_per_node=1", "strategy=scaffold"), 4, marks=pytest.mark.slow),
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
    assert _released(folder) == _released(at_home.folder)
    measured = run_json(folder)["guarantee"]["unit"] != "example"
    assert (Result.of(folder) == Result.of(at_home.folder)) == measured


def _released(folder: Path) -> tuple:
    """All but diagnostics."""
    columns = ["round", "cohort", "replied", "epsilon", "test_accuracy", "test_loss"]
    rounds = read_table(folder, "rounds").select(columns).to_pydict()
    return dataclasses.replace(Result.of(folder), rounds="", clients=""), rounds


# -- the server is an adversary ----------------------------------------------------------------------------

STOCK = ("strategy=flower", "strategy.flower._target_=flwr.serverapp.strategy.FedMedian")


@pytest.mark.parametrize(
    "strategy",
    [(), STOCK, ("privacy=local_gaussian",), ("privacy=distributed",), ("privacy=both_units",)],
    ids=["fedpriv", "stock", "local_gaussian", "distributed", "both_units"],
)
def test_where_clients_add_noise_no_measurement_on_training_data_leaves_a_node(strategy, tmp_path, capsys):
    given = (*FOUR, *strategy, f"output_dir={tmp_path}", "evaluation.clients=true")
    server_app, client_app = make_apps(*given)
    seen: list = []
    server_app(foreign_grid(client_app, 4, seen=seen), server_context())
    records = [record for reply in seen for record in reply.content.values()]
    told = {name for record in records for name in record}
    told |= {name for record in records for listed in record.values() if isinstance(listed, list) for name in listed}
    told = {str(name) for name in told}
    assert "steps" in told
    assert "examples" not in told  # how many were drawn into batches tells of the coins
    assert not [name for name in told if re.search("loss|norm|clip|accuracy", name)]
    folder = only_run(tmp_path)
    assert not [name for name in run_json(folder)["metrics"] if name.startswith("diagnostic")]
    assert "evaluation.clients is off" in capsys.readouterr().out
    columns = [name for name in read_table(folder, "clients").column_names if name.startswith("diagnostic")]
    assert columns == ["diagnostic_steps"]


@pytest.mark.parametrize(
    ("privacy", "strategy"),
    [("example", ()), ("example", STOCK), ("none", ()), ("none", STOCK), ("local_laplace", ())],
    ids=["example", "example, stock", "none", "none, stock", "local_laplace"],
)
def test_a_server_that_asks_all_the_same_is_told_nothing(privacy, strategy):
    experiment, app = _node(*FOUR, *strategy, f"privacy={privacy}")
    task = EvaluateTask(parameters=_parameters(experiment), clients=(2, 0), states={})
    reply = app(*_sent(experiment, task.to_record(), EVALUATE_DIAGNOSTICS if strategy else "evaluate"))
    found = EvaluateReply.from_record(reply.content)
    assert found.clients.tolist() == [2, 0]
    if privacy != "none":
        assert set(found.metrics) == {"examples"}
        assert np.isnan(found.metrics["examples"]).all()
    else:
        assert ((found.metrics["accuracy"] > 0) & (found.metrics["accuracy"] < 1)).all()


def test_with_client_level_privacy_the_server_is_trusted_and_told(tmp_path):
    given = (*FOUR, "privacy=central", f"output_dir={tmp_path}", "evaluation.clients=true")
    server_app, client_app = make_apps(*given)
    server_app(foreign_grid(client_app, 2), server_context())
    assert "diagnostic_client_accuracy_mean" in run_json(only_run(tmp_path))["metrics"]


def test_what_an_error_quotes_stays_at_the_node(tmp_path, monkeypatch, caplog):
    whole = FederatedData.client

    def torn(self, client):
        if client == 3:
            raise ValueError("the patient's name is Ada")
        return whole(self, client)

    monkeypatch.setattr(FederatedData, "client", torn)
    for strategy in ((), STOCK):
        experiment, app = _node(*FOUR, *strategy)
        if strategy:
            settings = Settings(round=1, client=3, attempt=0, noise_multiplier=1.0)
            record = settings.added_to(RecordDict({"arrays": ArrayRecord(_parameters(experiment))}))
            text = app(*_sent(experiment, record, "train")).error.reason
        else:
            task = _task(experiment, clients=(1, 3))
            reply = TrainReply.from_record(app(*_sent(experiment, task.to_record(), "train")).content)
            assert reply.status.tolist() == [0, 2]
            text = reply.failures[3]
        assert "Ada" not in text
        assert "node's own log" in text
        assert "client 3: ValueError: the patient's name is Ada" in caplog.text
        caplog.clear()


# -- one experiment ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [(), STOCK], ids=["fedpriv", "stock"])
@pytest.mark.parametrize(
    "other", [("privacy.max_grad_norm=1000", "training.batch_size=150"), ("seed=2",)], ids=["clipping", "data"]
)
def test_nodes_of_another_experiment_train_nothing(strategy, other, tmp_path):
    server_app, _ = make_apps(*FOUR, *strategy, f"output_dir={tmp_path}")
    _, client_app = make_apps(*FOUR, *strategy, *other, f"output_dir={tmp_path}")
    seen: list = []
    with pytest.raises(FedprivError, match=r"this node has experiment \w+, the server's is \w+: their configs"):
        server_app(foreign_grid(client_app, 4, seen=seen), server_context())
    assert all(reply.has_error() for reply in seen)
    assert run_json(only_run(tmp_path))["status"] == "failed"


@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_a_message_that_names_no_experiment_is_refused(kind):
    experiment, app = _node(*FOUR)
    message, context = _sent(experiment, _task(experiment, clients=(0,)).to_record(), kind)
    del message.content["fedpriv.experiment"]
    reply = app(message, context)
    assert reply.has_error()
    assert "the server's is of no name" in reply.error.reason


def _node(*overrides: str):
    flower_private.become_server()
    experiment = Experiment.assemble(compose(overrides, config_dir=None))
    return experiment, make_app_elsewhere(experiment)


def _parameters(experiment):
    model = experiment.new_model()
    layout = experiment.layout(model)
    return layout.unflatten(layout.from_module(model))


def _task(experiment, *, clients):
    return TrainTask(
        round=1,
        attempt=0,
        parameters=_parameters(experiment),
        broadcast={},
        told={},
        chunk_ids=(0,),
        chunks=(clients,),
        noise_multipliers=np.ones(len(clients)),
        states={},
        each=True,
    )


def _sent(experiment, content, kind: str):
    """A message of this experiment's server, as a node gets it."""
    message = Message(content, dst_node_id=5, message_type=kind)
    flower_private.address(message, "a")
    message.content["fedpriv.experiment"] = ConfigRecord({"id": experiment.run_id()})
    return message, Context(1, 5, {}, RecordDict(), run_config={})


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


@pytest.mark.slow
@pytest.mark.parametrize("again", ["elsewhere", "at home"])
def test_interrupted_elsewhere_it_pays_again_since_nodes_may_be_other_machines(again, tmp_path, monkeypatch):
    given = (*FOUR, "rounds=3", "privacy.epsilon=null", "privacy.noise_multiplier=2", f"output_dir={tmp_path}")
    server_app, client_app = make_apps(*given)

    def impatient(self, row, failures):
        raise FedprivError("the SuperLink is gone")

    with monkeypatch.context() as patch:
        patch.setattr(TerminalReporter, "round_done", impatient)
        with pytest.raises(FedprivError):
            server_app(foreign_grid(client_app, 2), server_context())
    folder = only_run(tmp_path)
    if again == "elsewhere":
        server_app(foreign_grid(client_app, 2), server_context())
    else:
        resume(folder, reporter=TerminalReporter())
    assert [(e.round, e.attempt) for e in ledger(folder)] == [(1, 0), (1, 1), (2, 1), (3, 1)]


@pytest.mark.parametrize("privacy", ["example", "local_gaussian", "local_laplace", "distributed", "both_units"])
def test_a_secret_that_nodes_would_have_to_know_is_refused(privacy, tmp_path):
    server_app, client_app = make_apps(*FOUR, f"privacy={privacy}", "seeds.noise=secret", f"output_dir={tmp_path}")
    with pytest.raises(ConfigError, match="the nodes draw noise"):
        server_app(foreign_grid(client_app, 2), server_context())
    assert not list(tmp_path.glob("*"))


def test_a_secret_of_the_servers_noise_stays_with_it(tmp_path):
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
    assert _released(folder) == _released(run_digits(FOUR[1], "rounds=1").folder)
