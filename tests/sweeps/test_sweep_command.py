"""`fedpriv sweep`, one run after another: skipped, extended, resumed, failed, shared."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fedpriv.config import compose
from fedpriv.experiment import run
from fedpriv.records.run_folder import RunFolder

# Tenths of a second a run.
TINY = (
    *("experiment=digits_smoke", "rounds=1", "partition.num_clients=4", "training.batch_size=180", "workers=1"),
    *("privacy.epsilon=null", "privacy.accountant=rdp", "evaluation.clients=false"),
)
NOISES = "privacy.noise_multiplier=1,2"


def records(folder: Path) -> dict[str, dict]:
    """Run id -> run.json."""
    return {path.parent.name: json.loads(path.read_text()) for path in folder.glob("outputs/*/*/run.json")}


def test_a_sweep_runs_every_combination_as_single_runs_are(command, tmp_path, silent_reporter):
    ended = command("sweep", *TINY, NOISES, "seed=0,1")
    assert ended.code == 0, ended
    assert "4 runs: 4 trained" in ended.out
    found = records(tmp_path)
    assert [record["status"] for record in found.values()] == ["completed"] * 4
    config = compose([*TINY, "privacy.noise_multiplier=2", "seed=1"], config_dir=None)
    assert run(config, reporter=silent_reporter).run_id in found
    assert records(tmp_path) == found, "it was done before"
    assert not list(tmp_path.glob("outputs/.*")), "nothing is left beside the runs"


@pytest.mark.slow
def test_what_is_done_is_skipped_and_new_values_extend(command, tmp_path):
    assert command("sweep", *TINY, NOISES).code == 0
    before = records(tmp_path)
    ended = command("sweep", *TINY, "privacy.noise_multiplier=1,2,3")
    assert "3 runs: 1 trained, 2 done before" in ended.out
    after = records(tmp_path)
    assert len(after) == 3
    assert {name: after[name] for name in before} == before


@pytest.mark.slow
def test_an_interrupted_run_is_gone_on_with(command, tmp_path, silent_reporter):
    class Impatient(type(silent_reporter)):
        def round_done(self, row, failures):
            raise KeyboardInterrupt

    config = compose([*TINY, "rounds=2", "privacy.noise_multiplier=1"], config_dir=None)
    with pytest.raises(Exception, match="Interrupted"):
        run(config, reporter=Impatient())
    assert [record["status"] for record in records(tmp_path).values()] == ["interrupted"]
    assert "2 runs: 2 trained" in command("sweep", *TINY, "rounds=2", NOISES).out
    found = records(tmp_path).values()
    assert [record["status"] for record in found] == ["completed"] * 2
    assert sorted(record["execution"]["attempts"] for record in found) == [1, 2]


def test_ctrl_c_leaves_all_resumable_and_says_how(command, tmp_path, monkeypatch):
    from fedpriv.sweeps.task import BoardReporter

    def interrupted(self, row, failures):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(BoardReporter, "round_done", interrupted)
        ended = command("sweep", *TINY, NOISES)
    assert ended.code == 130
    assert f"Go on with: fedpriv sweep {' '.join(TINY)} {NOISES}" in ended.err
    assert [record["status"] for record in records(tmp_path).values()] == ["interrupted"]
    assert "2 runs: 2 trained" in command("sweep", *TINY, NOISES).out


@pytest.mark.parametrize("typo", ["privacy.noise_multiplier=1,-2", "trainin.lr=0.1,0.2", "privacy=example,exmple"])
def test_a_typo_in_one_value_starts_nothing(typo, command, tmp_path):
    ended = command("sweep", *TINY, "privacy.noise_multiplier=1", typo)
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_failed_job_stops_no_other_and_is_listed(command, tmp_path):
    ended = command("sweep", *TINY, "privacy.noise_multiplier=1", "model=logistic,lenet", "seed=0,1")
    assert ended.code == 1
    assert "4 runs: 2 trained, 2 failed" in ended.out
    failures = [line for line in ended.out.splitlines() if line.startswith("Failed: ")]
    assert [line.split(":")[1] for line in failures] == [" model=lenet seed=0", " model=lenet seed=1"]


def test_fail_fast_begins_no_other(command, tmp_path):
    words = (*TINY, "privacy.noise_multiplier=1", "model=lenet,logistic")
    ended = command("sweep", "--fail-fast", *words)
    assert ended.code == 1
    assert "2 runs: 1 failed, 1 not begun" in ended.out
    assert records(tmp_path) == {}


@pytest.mark.slow
def test_a_job_that_cannot_say_a_word_is_started_twice_and_no_more(command, tmp_path, monkeypatch):
    from fedpriv.sweeps.board import Board

    tell = Board.tell
    monkeypatch.setattr(Board, "tell", lambda board, number, state: number == 1 or tell(board, number, state))
    ended = command("sweep", *TINY, NOISES)
    assert ended.code == 1
    assert "2 runs: 1 trained, 1 failed" in ended.out
    assert "Failed: privacy.noise_multiplier=2: its process ended without a word" in ended.out


def test_how_to_go_on_does_not_train_again_what_is_done(command, tmp_path, monkeypatch):
    def interrupt(*arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr("fedpriv.experiment.run", interrupt)
    ended = command("sweep", *TINY, NOISES, "force=true")
    assert ended.code == 130
    assert "Go on with: fedpriv sweep" in ended.err
    assert "force" not in ended.err


def test_a_run_of_other_code_is_told(command, tmp_path):
    command("sweep", *TINY, "privacy.noise_multiplier=1")
    [path] = tmp_path.glob("outputs/*/*/run.json")
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"revision": "other"}))
    ended = command("sweep", *TINY, "privacy.noise_multiplier=1")
    assert "1 done before" in ended.out
    assert "trained by other code (revision was other" in ended.out


@pytest.mark.slow
def test_a_run_that_another_process_trains_is_come_back_to(command, tmp_path):
    first = compose([*TINY, "privacy.noise_multiplier=1"], config_dir=None)
    from fedpriv.experiment.assembly import Experiment

    folder = RunFolder(Path("outputs") / first.name / Experiment.assemble(first).run_id())
    folder.create()
    program = (
        "import sys, time; from pathlib import Path; from fedpriv.records.run_folder import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).acquire():\n    print('mine', flush=True); time.sleep(5)"
    )
    owner = subprocess.Popen([sys.executable, "-c", program, folder.path], stdout=subprocess.PIPE, env=os.environ)
    with owner:
        assert owner.stdout.readline() == b"mine\n"
        ended = command("sweep", *TINY, NOISES)
    assert ended.code == 0, ended
    assert "2 runs: 2 trained" in ended.out
    told = ended.out.splitlines()
    other = next(i for i, line in enumerate(told) if "noise_multiplier=1: another process trains it" in line)
    assert any("noise_multiplier=2: done" in line for line in told[other:]), "the other job did not wait"
    assert {r["execution"]["rounds_trained"] for r in records(tmp_path).values()} == {1}


def test_seeds_of_noise_alone_leave_clients_and_cohorts_the_same(command, tmp_path):
    assert command("sweep", *TINY, "privacy.noise_multiplier=1", "seed=0", "seeds.noise=0,1").code == 0
    one, other = tmp_path.glob("outputs/*/*/clients.parquet")
    import pyarrow.parquet

    cohorts = [pyarrow.parquet.read_table(path).select(["round", "client"]) for path in (one, other)]
    assert cohorts[0] == cohorts[1]
    one, other = (path.read_bytes() for path in tmp_path.glob("outputs/*/*/model.safetensors"))
    assert one != other


def test_a_notebook_gets_the_runs(tmp_path, monkeypatch):
    import fedpriv

    monkeypatch.chdir(tmp_path)
    runs = fedpriv.sweep(*TINY, NOISES)
    assert sorted(run.config["privacy"]["noise_multiplier"] for run in runs) == [1.0, 2.0]
