"""What of runtime=ray needs no Ray: refusals, and that all that was started ends."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from flwr.app import Error, Message, RecordDict

from crash.runs import here
from fedpriv.config import compose
from fedpriv.errors import ConfigError, FedprivError
from fedpriv.experiment import Experiment
from fedpriv.runtimes import flower_private
from fedpriv.runtimes.ray import RayActors, available, cluster_slots, wire
from fedpriv.runtimes.ray.project import make_project
from fedpriv.runtimes.ray.simulation import Simulation

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc")


@pytest.fixture(autouse=True)
def place(monkeypatch, tmp_path):
    """What temporary folders are made in, short as they are by default; and no cluster."""
    folder = tempfile.mkdtemp(prefix="ray-test-", dir="/tmp")
    monkeypatch.setenv("TMPDIR", folder)
    monkeypatch.setattr(tempfile, "tempdir", folder)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    yield
    shutil.rmtree(folder)


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setattr(available, "find_spec", lambda name: object())


# -- refusals ----------------------------------------------------------------------------------------------


def _refused(tmp_path: Path, *overrides: str) -> str:
    ended = here("run", "experiment=digits_smoke", "runtime=ray", *overrides, f"output_dir={tmp_path / 'runs'}")
    assert ended.code == 2, ended
    assert not (tmp_path / "runs").exists(), "nothing is written"
    return ended.message


@pytest.mark.parametrize("workers", ["workers=2", "workers=null"])
def test_without_ray_it_names_the_extra(workers, tmp_path, monkeypatch):
    monkeypatch.setattr(available, "find_spec", lambda name: None)
    assert "pip install 'fedpriv[ray]'" in _refused(tmp_path, workers)


@pytest.mark.parametrize("workers", ["workers=2", "workers=null"])
def test_a_cluster_that_does_not_answer_is_refused(workers, tmp_path, monkeypatch, installed):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert "No Ray cluster answers at RAY_ADDRESS=127.0.0.1:1" in _refused(tmp_path, workers)


@pytest.mark.parametrize("address", ["ray://head:10001", "head", "head:"])
def test_an_address_that_is_none_is_refused(address, tmp_path, monkeypatch, installed):
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert f"RAY_ADDRESS={address} is no HOST:PORT" in _refused(tmp_path, "workers=2")


def test_a_cluster_that_is_too_small_is_refused(tmp_path, monkeypatch, installed):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setattr(available, "_cpus_of_machines", lambda address: (2.0, 5.0))
    told = _refused(tmp_path, "workers=4", "threads=2")
    assert "whose machines have 2, 5 CPUs: use workers=3 or less" in told


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (("runtime.data=moon",), "runtime.data=moon is unknown; use one of object_store, path."),
        (("device=cuda",), "runtime=ray trains on CPUs"),
        (("runtime=inprocess", "runtime.data=path"), "runtime.data is for runtime=ray"),
    ],
)
def test_what_means_nothing_is_refused(overrides, told, tmp_path):
    assert told in _refused(tmp_path, *overrides)


def test_code_that_is_typed_in_is_refused(installed):
    experiment = Experiment.assemble(compose(["experiment=digits_smoke", "runtime=ray"], config_dir=None))
    experiment.__dict__["own_code"] = {"__main__.Net": "a digest"}
    with pytest.raises(ConfigError, match="put it into a file"):
        _ = experiment.pool_kind


@pytest.mark.parametrize(
    ("machines", "workers", "cpus"), [((8.0, 8.0), 4, 4), ((8.0, 8.0), 16, 1), ((2.0, 5.0), 3, 2), ((1.0, 8.0), 2, 4)]
)
def test_actors_take_what_a_cluster_has_for_so_many(machines, workers, cpus, monkeypatch):
    monkeypatch.setattr(available, "_cpus_of_machines", lambda address: machines)
    assert available.cpus_of_an_actor(workers=workers, threads=1, address="here:1") == cpus


def test_as_many_workers_as_the_cluster_has_room_for(monkeypatch, installed):
    assert cluster_slots(threads=1) is None
    monkeypatch.setenv("RAY_ADDRESS", "here:1")
    monkeypatch.setattr(available, "_cpus_of_machines", lambda address: (2.0, 5.0))
    assert cluster_slots(threads=2) == 3


def test_ray_is_started_here_whatever_cluster_runs_on_this_machine(monkeypatch, installed):
    assert RayActors.here(workers=2, threads=1).address is None
    project = make_project(workers=2, threads=3, cpus=3, address=None)
    assert project.environ["RAY_ADDRESS"] == "local"
    assert "init-args-num-cpus=6" in project.run[-1]
    assert "init-args-num-cpus" not in make_project(workers=2, threads=3, cpus=3, address="here:1").run[-1]


# -- replies -----------------------------------------------------------------------------------------------


@pytest.fixture
def asked():
    flower_private.become_server()
    message = Message(RecordDict(), dst_node_id=1, message_type="train")
    flower_private.address(message, "asked")
    return message


def test_an_error_of_the_app_is_not_that_of_a_lost_worker(asked):
    of_the_app = wire.answer_of(wire.enclosed(Message(Error(2, "client 3 raised"), reply_to=asked), asked))
    assert (of_the_app.code, of_the_app.reason) == (2, "client 3 raised")
    lost = Message(Error(0, "<class 'ray.exceptions.ActorDiedError'>:<'It died.\nclass_name: X'>"), reply_to=asked)
    with pytest.raises(FedprivError, match=r"ended by itself.*ActorDiedError: It died\..*can be resumed"):
        wire.answer_of(lost)


def test_what_fails_in_a_worker_is_told(asked):
    with pytest.raises(FedprivError, match="A worker failed: ValueError: no such model"):
        wire.answer_of(wire.failed(ValueError("no such model"), asked))


# -- the supervisor ----------------------------------------------------------------------------------------

STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print("grandchild", os.getpid(), flush=True)
        time.sleep(600)
    os._exit(0)
time.sleep(600)
"""
LISTENING = "import socket, time; s = socket.create_server(('127.0.0.1', {port})); time.sleep(600)"


def _simulation(superlink: str, run: str) -> tuple[Simulation, Path]:
    project = make_project(workers=1, threads=1, cpus=1, address=None)
    commands = ((sys.executable, "-c", code.replace("{port}", str(project.port))) for code in (superlink, run))
    return Simulation(replace(project, **dict(zip(("superlink", "run"), commands, strict=True)))), project.folder


def _running(folder: Path) -> list[int]:
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"FLWR_HOME={folder}/".encode() in environ.read_bytes():
                found.append(int(environ.parent.name))
    return found


def _until(true, seconds=20.0):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.05)
    assert true()


def test_all_that_was_started_ends_with_the_pool():
    simulation, folder = _simulation(LISTENING, STUBBORN)
    _until(lambda: len(_running(folder)) == 4)  # the supervisor, the two commands, and one that left its parents
    simulation.close()
    assert _running(folder) == []
    assert not folder.exists()


def test_a_killed_supervisor_is_told_and_nothing_is_left():
    simulation, folder = _simulation(LISTENING, STUBBORN)
    _until(lambda: len(_running(folder)) == 4)
    os.kill(simulation._supervisor.pid, signal.SIGKILL)
    with pytest.raises(FedprivError, match="could not be started"):
        simulation.begin(dict, modules={})
    simulation.close()
    _until(lambda: _running(folder) == [])
    assert not folder.exists()


def test_what_cannot_be_started_is_told_by_its_last_words():
    simulation, folder = _simulation("print('no such \\033[93mthing\\033[0m')", "")
    with pytest.raises(FedprivError, match=r"could not be started.*\n.*no such thing"):
        simulation.begin(dict, modules={})
    simulation.close()
    assert not folder.exists()


@pytest.mark.slow
def test_all_that_was_started_ends_with_a_process_that_is_killed():
    here = Path(__file__).parent
    code = (
        f"import sys, time; sys.path[:0] = {[str(here), str(here.parent)]!r}; import test_ray_without_ray as t; "
        "_, folder = t._simulation(t.LISTENING, t.STUBBORN); print(folder, flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    folder = Path(process.stdout.readline().strip())
    _until(lambda: len(_running(folder)) == 4)
    process.kill()
    process.wait()
    _until(lambda: _running(folder) == [])
    _until(lambda: not folder.exists())


def test_a_port_is_free():
    project = make_project(workers=1, threads=1, cpus=1, address=None)
    with socket.socket() as s:
        s.bind(("127.0.0.1", project.port))
