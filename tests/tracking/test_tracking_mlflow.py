"""A real MLflow server lists the runs, with metrics by round, and the model that it stores predicts."""

import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import fedpriv
from fedpriv.config import compose
from fedpriv.errors import InterruptedRunError
from fedpriv.experiment import resume
from fedpriv.experiment.assembly import Experiment
from fedpriv.tracking import Callback

pytest.importorskip("mlflow", reason="needs the extra mlflow")
pytestmark = pytest.mark.slow
LEFT_OUT = "tracker mlflow failed, and is left out from here on"


class InterruptsAfterACheckpoint(Callback):
    def round_done(self, row, failures):
        if row["round"] == 3:
            raise KeyboardInterrupt


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(folder):
    """`mlflow server` on sqlite, on loopback; yields (its address, its process)."""
    folder.mkdir(parents=True, exist_ok=True)
    port, database = free_port(), f"sqlite:///{folder}/mlflow.db"
    where = ["--host", "127.0.0.1", "--port", str(port), "--artifacts-destination", str(folder / "files")]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--backend-store-uri", database, *where],
        cwd=folder,
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
        stdout=(folder / "log").open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    uri = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urlopen(f"{uri}/health", timeout=5).close()
                break
            except (URLError, OSError):
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.2)
        yield uri, process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 15)
            process.wait(30)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with server(tmp_path_factory.mktemp("mlflow")) as (uri, _):
        yield uri


def tracked(uri, name):
    return ["tracking=mlflow", f"tracking.mlflow.uri={uri}", f"name={name}"]


def client(uri):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def runs(uri, name):
    found = client(uri)
    return found.search_runs([found.get_experiment_by_name(name).experiment_id])


def history(uri, run, metric):
    points = client(uri).get_metric_history(run.info.run_id, metric)
    return sorted((point.step, point.value) for point in points)


def test_a_sweep_s_runs_hang_below_one_parent_with_metrics_by_round(address, run_digits, tmp_path):
    given = [*tracked(address, "sweep"), "tracking.mlflow.parent=my sweep", "tracking.mlflow.log_model=false"]
    ran = [run_digits(*given, f"privacy.epsilon={epsilon}", output_dir=tmp_path) for epsilon in (2, 8)]
    assert [one.reporter.notes for one in ran] == [[], []]
    found = {run.data.tags.get("fedpriv.run_id"): run for run in runs(address, "sweep")}
    parent = found.pop(None)
    assert (parent.info.run_name, parent.data.tags["fedpriv.parent"]) == ("my sweep", "my sweep")
    assert set(found) == {one.record.run_id for one in ran}
    for one in ran:
        run = found[one.record.run_id]
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.info.status == "FINISHED"
        for metric in ("epsilon", "test_accuracy", "diagnostic_train_loss"):
            assert history(address, run, metric) == [(row["round"], row[metric]) for row in one.reporter.rows]
        assert run.data.metrics["guarantee_epsilon"] == one.record.guarantee["epsilon"]
        assert 0 < one.record.guarantee["epsilon"] <= float(run.data.params["privacy.epsilon"])
        files = {file.path for file in client(address).list_artifacts(run.info.run_id)}
        assert files >= {"config.yaml", "run.json", "guarantee.json", "guarantee.md", "ledger.jsonl", "rounds.parquet"}


def test_a_sweep_makes_a_parent_of_its_name_and_trains_nothing_twice(address, tmp_path):
    words = ["experiment=digits_smoke", *tracked(address, "swept"), "tracking.mlflow.log_model=false"]
    words += ["seed=0,1", "workers=1", f"output_dir={tmp_path}"]
    for _ in range(2):  # the second time all are done, and MLflow has them
        swept = fedpriv.sweep(*words)
        found = runs(address, "swept")
        (parent,) = [run for run in found if "fedpriv.parent" in run.data.tags]
        assert parent.info.run_name == "sweep swept"
        children = {run.data.tags["fedpriv.run_id"]: run for run in found if run is not parent}
        assert set(children) == {run.record.run_id for run in swept}
        for run in swept:
            child = children[run.record.run_id]
            assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
            accuracy = list(zip(run.rounds["round"].to_pylist(), run.rounds["test_accuracy"].to_pylist(), strict=True))
            assert history(address, child, "test_accuracy") == accuracy


@pytest.mark.parametrize("model", ["logistic", "mlp"])
def test_the_logged_model_loads_and_predicts_as_the_run_s(address, run_digits, tmp_path, monkeypatch, model):
    import mlflow

    given = [*tracked(address, f"predicts_{model}"), f"model={model}"]
    ran = run_digits(*given, output_dir=tmp_path)
    assert ran.reporter.notes == []
    assert not mlflow.is_tracking_uri_set()  # the tracker has left nothing of its own behind
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    found = client(address)
    experiment = found.get_experiment_by_name(f"predicts_{model}").experiment_id
    (logged,) = found.search_logged_models([experiment])
    assert logged.source_run_id == runs(address, f"predicts_{model}")[0].info.run_id
    predictor = mlflow.pyfunc.load_model(logged.model_uri)
    assert predictor.metadata.signature.inputs.inputs[0].shape == (-1, 1, 8, 8)

    x = np.random.default_rng(0).random((5, 1, 8, 8), dtype=np.float32)
    assembled = Experiment.assemble(compose(["experiment=digits_smoke", f"model={model}"], config_dir=None))
    ours = assembled.new_model()
    ours.load_state_dict(load_file(ran.folder / "model.safetensors"))
    with torch.no_grad():
        expected = ours.eval()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(predictor.predict(x), expected, rtol=1e-5, atol=1e-6)


def test_a_resumed_run_goes_on_with_its_mlflow_run(address, run_digits, silent_reporter, tmp_path, monkeypatch):
    monkeypatch.setattr("fedpriv.experiment.attempt._CHECKPOINT_SECONDS", 0.0)
    given = [*tracked(address, "resumed"), "rounds=5", "tracking.mlflow.log_model=false"]
    with pytest.raises(InterruptedRunError):
        run_digits(*given, output_dir=tmp_path, reporter=InterruptsAfterACheckpoint())
    (before,) = runs(address, "resumed")
    assert (before.info.status, before.data.tags["fedpriv.status"]) == ("KILLED", "interrupted")
    (folder,) = (path.parent for path in tmp_path.glob("resumed/*/run.json"))
    resume(folder, reporter=silent_reporter)
    (after,) = runs(address, "resumed")
    assert after.info.run_id == before.info.run_id
    assert (after.info.status, after.data.tags["fedpriv.status"]) == ("FINISHED", "completed")
    assert [step for step, _ in history(address, after, "epsilon")] == [1, 2, 3, 4, 5]


def test_a_run_that_finished_without_it_is_made_up_for(address, run_digits, tmp_path):
    run_digits("name=later", output_dir=tmp_path)
    given = [*tracked(address, "later"), "tracking.mlflow.log_model=false"]
    for _ in range(2):  # the second time there is nothing to do
        ran = run_digits(*given, output_dir=tmp_path, reporter=None)
        (run,) = runs(address, "later")
        assert [step for step, _ in history(address, run, "test_accuracy")] == [1, 2, 3]
        assert (run.info.status, ran.reporter.notes) == ("FINISHED", [])


def test_processes_that_start_at_once_make_one_parent(address, tmp_path):
    code = """
import sys
from fedpriv.config import compose
from fedpriv.experiment import run
from fedpriv.progress import TerminalReporter
run(compose(sys.argv[1:], config_dir=None), reporter=TerminalReporter())
"""
    given = ["experiment=digits_smoke", "workers=1", f"output_dir={tmp_path}", *tracked(address, "at_once")]
    given += ["tracking.mlflow.parent=p", "tracking.mlflow.log_model=false", "evaluation.clients=false"]
    started = [subprocess.Popen([sys.executable, "-c", code, *given, f"seed={seed}"]) for seed in (1, 2, 3)]
    assert [process.wait(300) for process in started] == [0, 0, 0]
    found = runs(address, "at_once")
    (parent,) = [run for run in found if "fedpriv.parent" in run.data.tags]
    children = [run for run in found if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert (len(found), len(children)) == (4, 3)


def test_no_server_is_noted_at_once_and_the_run_ends_well(run_digits, tmp_path):
    uri = f"http://127.0.0.1:{free_port()}"
    ran = run_digits(*tracked(uri, "nobody"), output_dir=tmp_path)
    assert ran.record.status == "completed"
    assert len(ran.reporter.notes) == 1
    assert ran.reporter.notes[0].startswith(f"{LEFT_OUT}: ConnectionError: no MLflow server answers at {uri}")


def test_a_server_that_dies_in_the_middle_is_noted_and_the_run_ends_well(run_digits, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setattr("fedpriv.tracking.mlflow._FLUSH_SECONDS", 0.0)
    with server(tmp_path / "server") as (uri, process):

        class Kills(Callback):
            notes: list[str]

            def __init__(self):
                self.notes, self.folder = [], None

            def noted(self, text):
                self.notes.append(text)

            def round_done(self, row, failures):
                if row["round"] == 2:
                    os.killpg(process.pid, 9)
                    process.wait(30)

        killer = Kills()
        ran = run_digits(*tracked(uri, "dies"), "tracking.mlflow.timeout=20", output_dir=tmp_path, reporter=killer)
    assert ran.record.status == "completed"
    assert [note.split(":")[0] for note in killer.notes] == [LEFT_OUT]
