"""Real runs on Ray, through Flower's SuperLink: the same bits, and nothing left running, whatever is killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

from crash.runs import Ended, Result, fedpriv, ledger, only_run, plain_fedpriv, run_json
from crash.workload import DIGITS, SMALL

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(find_spec("ray") is None, reason="needs fedpriv[ray]"),
]
RAY = ("runtime=ray", "workers=2")
CENTRAL = (*SMALL, "privacy=central", "sampling=poisson", "sampling.cohort=3", "federation.dropout=0.3")
STOCK = (*DIGITS, "strategy=flower", "rounds=2", "privacy.accountant=rdp")
LONG = (*SMALL, "rounds=200")


@pytest.fixture(scope="module")
def at_home(tmp_path_factory) -> Callable[..., Path]:
    """Folder of a run of these overrides in one process, trained once."""
    done: dict[tuple[str, ...], Path] = {}

    def folder(*overrides: str) -> Path:
        if overrides not in done:
            output = tmp_path_factory.mktemp("home")
            ended = fedpriv("run", *overrides, "workers=1", f"output_dir={output}")
            assert ended.code == 0, ended
            done[overrides] = only_run(output)
        return done[overrides]

    return folder


@pytest.fixture
def place(monkeypatch, tmp_path) -> Iterator[Path]:
    """What temporary folders are made in; short, since Ray's sockets lie deep below it."""
    folder = Path(tempfile.mkdtemp(prefix="ray-test-", dir="/tmp"))
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    yield folder
    for pid in started_in(folder):  # a test that fails leaves nothing either
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(folder)


def started_in(place: Path) -> dict[int, str]:
    """Command lines of all processes that belong to a simulation there, by process id."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"FLWR_HOME={place}/".encode() in (folder / "environ").read_bytes():
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


def nothing_left(place: Path, *, within: float = 15.0) -> bool:
    """Whether all processes end, and all folders go, within so many seconds."""
    end = time.monotonic() + within
    while started_in(place) or list(place.glob("fp-*")):
        if time.monotonic() > end:
            print(started_in(place), list(place.glob("fp-*")))
            return False
        time.sleep(0.1)
    return True


@pytest.mark.parametrize(
    ("overrides", "more"),
    [
        (SMALL, RAY),
        (SMALL, ("runtime=ray", "workers=1", "runtime.data=path")),
        (CENTRAL, RAY),
        (STOCK, RAY),
    ],
    ids=["example, two workers", "example, one that reads the data by itself", "central", "a strategy of Flower's"],
)
def test_ray_gives_the_same_bits(overrides, more, place, tmp_path, at_home):
    ended = plain_fedpriv("run", *overrides, *more, f"output_dir={tmp_path}")
    assert ended.code == 0, ended
    assert nothing_left(place, within=0.0), "all has ended before the command has"
    assert only_run(tmp_path).name == at_home(*overrides).name
    assert Result.of(only_run(tmp_path)) == Result.of(at_home(*overrides))


def test_a_sweep_starts_ray_once(place, tmp_path):
    ended = plain_fedpriv("sweep", *SMALL, *RAY, "rounds=2", "seed=1,2,3", f"output_dir={tmp_path}")
    assert ended.code == 0, ended
    pids = {tuple(run_json(path.parent)["execution"]["worker_pids"]) for path in tmp_path.glob("*/*/run.json")}
    assert len(pids) == 1
    assert len(*pids) == 2
    assert nothing_left(place, within=0.0)


# -- a cluster ---------------------------------------------------------------------------------------------

TWO_MACHINES = """
import json, sys, ray
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
cluster.add_node(num_cpus=1)
ray.init(address=cluster.address, logging_level="error")
print(json.dumps(cluster.address), flush=True)
for _ in sys.stdin:
    print(json.dumps([ray.available_resources().get("CPU", 0), len(ray.nodes())]), flush=True)
ray.shutdown()
cluster.shutdown()
"""


@pytest.fixture
def cluster(place, monkeypatch) -> Iterator[Callable[[], tuple[float, int]]]:
    """Two of Ray's machines with a CPU each; says how many CPUs are free, and how many machines there are."""
    command = [sys.executable, "-c", TWO_MACHINES]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    monkeypatch.setenv("RAY_ADDRESS", json.loads(process.stdout.readline()))

    def free() -> tuple[float, int]:
        print(file=process.stdin, flush=True)
        return tuple(json.loads(process.stdout.readline()))

    yield free
    process.stdin.close()
    process.wait(timeout=60)


def test_a_cluster_gives_the_same_bits_and_stays(cluster, place, tmp_path, at_home):
    for data in ("object_store", "path"):
        ended = plain_fedpriv("run", *SMALL, "runtime=ray", f"runtime.data={data}", f"output_dir={tmp_path / data}")
        assert ended.code == 0, ended
        folder = only_run(tmp_path / data)
        assert len(run_json(folder)["execution"]["worker_pids"]) == 2, "as many workers as there are CPUs"
        assert Result.of(folder) == Result.of(at_home(*SMALL))
    assert nothing_left(place, within=0.0)
    ended = plain_fedpriv("run", *SMALL, "runtime=ray", "workers=3", f"output_dir={tmp_path / 'more'}")
    assert ended.code == 2
    assert "workers=3 with threads=1 do not fit" in ended.message
    assert not (tmp_path / "more").exists()


def test_a_killed_run_gives_a_cluster_back(cluster, place, tmp_path):
    process = _start("run", *LONG, *RAY, f"output_dir={tmp_path}")
    _started(process, tmp_path)
    assert cluster() == (0, 2)
    process.kill()
    process.wait()
    assert nothing_left(place)
    end = time.monotonic() + 60
    while cluster() != (2, 2) and time.monotonic() < end:
        time.sleep(0.2)
    assert cluster() == (2, 2)


# -- killed in the middle ----------------------------------------------------------------------------------


def _start(*argv: object) -> subprocess.Popen:
    """`fedpriv ARGV`, now: a warm process would have the environment of an earlier test."""
    command = [sys.executable, "-m", "fedpriv", *map(str, argv)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def _ended(process: subprocess.Popen) -> Ended:
    out, err = process.communicate(timeout=120)
    return Ended(code=process.returncode, out=out, err=err)


def _started(process: subprocess.Popen, output: Path) -> Path:
    """The folder of the process's run, once it has trained some rounds."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        with suppress(ValueError, OSError, json.JSONDecodeError):
            folder = only_run(output)
            if len((folder / "ledger.jsonl").read_text().splitlines()) > 5 and run_json(folder):
                return folder
        time.sleep(0.05)
    process.kill()
    raise AssertionError(_ended(process))


VICTIMS = {
    "a worker": "ray::ClientAppActor",
    "the SuperLink": "bin/flower-superlink --insecure",
    "Flower's simulation": "bin/flwr-simulation",
    "Ray's node": "raylet/raylet ",
    "the supervisor": "runtimes.ray.supervisor import main",
}


@pytest.mark.parametrize("victim", VICTIMS)
def test_what_is_killed_is_told_and_nothing_is_left(victim, place, tmp_path, at_home):
    process = _start("run", *LONG, *RAY, f"output_dir={tmp_path}")
    folder = _started(process, tmp_path)
    (pid, *_) = [pid for pid, command in started_in(place).items() if VICTIMS[victim] in command]
    os.kill(pid, signal.SIGKILL)
    ended = _ended(process)
    assert ended.code == 1, ended
    assert "ended by itself" in ended.err
    assert "can be resumed" in ended.err
    assert nothing_left(place)
    if victim == "a worker":
        _goes_on(folder, at_home, place)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_or_interrupted_run_leaves_nothing_and_goes_on(number, place, tmp_path, at_home):
    process = _start("run", *LONG, *RAY, f"output_dir={tmp_path}")
    folder = _started(process, tmp_path)
    os.kill(process.pid, number)
    assert _ended(process).code == {signal.SIGKILL: -signal.SIGKILL, signal.SIGINT: 130}[number]
    assert nothing_left(place)
    _goes_on(folder, at_home, place)


def _goes_on(folder: Path, at_home: Callable[..., Path], place: Path) -> None:
    ended = plain_fedpriv("resume", folder)
    assert ended.code == 0, ended
    assert {entry.attempt for entry in ledger(folder)} == {0}
    assert Result.of(folder) == Result.of(at_home(*LONG))
    assert nothing_left(place)
