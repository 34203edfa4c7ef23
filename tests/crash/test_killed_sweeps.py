"""A sweep that is killed goes on where it was; two that share runs share them: no run is lost, none trained twice."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from crash.runs import EVERY_ROUND, Process, Result, fedpriv, here, leftovers, run_json, snapshot
from crash.sabotage import Deed
from crash.workload import DIGITS
from fedpriv.experiment.recording import rounds_trained
from fedpriv.records.run_folder import RunFolder

pytestmark = pytest.mark.slow

KILLED = -signal.SIGKILL
ROUNDS = 5
FAST = (*DIGITS, "privacy.epsilon=null", "privacy.accountant=rdp", "evaluation.clients=false")
SWEPT = ("privacy.noise_multiplier=1,2", "seed=0,1")
# Long enough to be hit, and at most the round that is hit is lost.
LONGER: tuple[Deed, ...] = (EVERY_ROUND, ("slow_rounds", 0.1))


def _runs(output: Path) -> dict[str, Path]:
    """Run id -> folder."""
    return {path.name: path for path in output.glob("*/*") if path.is_dir() and not path.parent.name.startswith(".")}


def _finished(output: Path) -> dict[str, Path]:
    found = {name: path for name, path in _runs(output).items() if (path / "run.json").exists()}
    return {name: path for name, path in found.items() if run_json(path)["status"] == "completed"}


def _trained(output: Path) -> int:
    """Rounds that were trained, those that a kill has lost included."""
    return sum(rounds_trained(RunFolder(folder)) for folder in _runs(output).values())


def _killed_at_random(rng: random.Random, output: Path, *words: str) -> int:
    """Kill a sweep up to a second after its first round; its exit code."""
    before = _trained(output)
    sweep = Process("sweep", *words, deeds=LONGER)
    end = time.monotonic() + 60
    while time.monotonic() < end and _trained(output) == before:
        time.sleep(0.01)
    time.sleep(rng.uniform(0.0, 1.0))
    os.kill(sweep.pid, signal.SIGKILL)
    return sweep.wait().code


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """Run id -> result of the sweep."""
    output = tmp_path_factory.mktemp("undisturbed")
    ended = fedpriv("sweep", *FAST, *SWEPT, f"output_dir={output}")
    assert ended.code == 0, ended
    return {name: Result.of(folder) for name, folder in _runs(output).items()}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_killed_twice_at_random_a_sweep_ends_in_the_same_bits(seed, tmp_path, undisturbed):
    rng, words = random.Random(seed), (*FAST, *SWEPT, f"output_dir={tmp_path}")
    assert [_killed_at_random(rng, tmp_path, *words) for _ in range(2)] == [KILLED, KILLED]
    assert len(_finished(tmp_path)) < len(undisturbed)
    before = {name: snapshot(folder) for name, folder in _finished(tmp_path).items()}
    ended = fedpriv("sweep", *words)
    assert ended.code == 0, ended
    runs = _runs(tmp_path)
    assert {name: Result.of(folder) for name, folder in runs.items()} == undisturbed
    assert {name: snapshot(runs[name]) for name in before} == before, "finished runs are left as they are"
    # Each kill may have cost the round that it hit; nothing else was trained twice.
    assert ROUNDS * len(runs) <= _trained(tmp_path) <= ROUNDS * len(runs) + 2
    for folder in runs.values():
        assert not leftovers(folder)
        assert here("verify", folder).code == 0


def test_a_sweep_that_is_done_trains_nothing(tmp_path):
    words = (*FAST, "seed=0,1", "privacy.noise_multiplier=1", f"output_dir={tmp_path}")
    assert fedpriv("sweep", *words).code == 0
    before = {name: snapshot(folder) for name, folder in _runs(tmp_path).items()}
    assert len(before) == 2
    assert fedpriv("sweep", *words).code == 0
    assert {name: snapshot(folder) for name, folder in _runs(tmp_path).items()} == before
    # A new value extends the same sweep.
    assert fedpriv("sweep", *words[:-3], "seed=0,1,2", *words[-2:]).code == 0
    after = {name: snapshot(folder) for name, folder in _runs(tmp_path).items()}
    assert len(after) == 3
    assert {name: after[name] for name in before} == before


def test_two_sweeps_that_share_runs_on_one_folder_train_each_once(tmp_path):
    shared = f"output_dir={tmp_path}"
    sweeps = [
        Process("sweep", *FAST, f"privacy.noise_multiplier={noises}", "seed=0,1", shared, deeds=LONGER)
        for noises in ("1,2", "2,3")
    ]
    for sweep in sweeps:
        ended = sweep.wait()
        assert ended.code == 0, ended
    runs = _runs(tmp_path)
    assert set(runs) == set(_finished(tmp_path))
    assert len(runs) == 6
    for folder in runs.values():
        execution = run_json(folder)["execution"]
        assert (execution["rounds_trained"], execution["attempts"], execution["resumed_from"]) == (ROUNDS, 1, None)
        assert here("verify", folder).code == 0


def test_killed_while_it_waits_for_a_run_of_another_sweep_nothing_is_lost(tmp_path, undisturbed):
    words = (*FAST, *SWEPT, f"output_dir={tmp_path}")
    first = Process("sweep", *words, deeds=LONGER)
    assert _killed_at_random(random.Random(5), tmp_path, *words) == KILLED
    ended = first.wait()
    assert ended.code == 0, ended
    assert {name: Result.of(folder) for name, folder in _runs(tmp_path).items()} == undisturbed
