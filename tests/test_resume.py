"""A run that is killed at any moment, and resumed, ends in the same bits; nothing is released for free."""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from crash.runs import (
    EVERY_ROUND,
    ONLY_ENDS,
    Process,
    Result,
    fedpriv,
    gone,
    group_members,
    here,
    ledger,
    leftovers,
    only_run,
    plain_fedpriv,
    run_json,
    snapshot,
)
from crash.sabotage import Deed
from crash.workload import DIGITS, SMALL

KILLED = -signal.SIGKILL
ROUNDS = 5


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Folder of a finished run of these overrides (none: SMALL), trained once."""
    done: dict[tuple[str, ...], Path] = {}

    def folder(*overrides: str) -> Path:
        if overrides not in done:
            output = tmp_path_factory.mktemp("undisturbed")
            assert fedpriv("run", *(overrides or SMALL), f"output_dir={output}").code == 0
            done[overrides] = only_run(output)
        return done[overrides]

    return folder


# -- kill -9 -----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Moment:
    """When the process dies, and what is known then: rounds trained and recorded, and the checkpoint's round."""

    deeds: tuple[Deed, ...]
    trained: int
    checkpoint: int | None
    command: str = "resume"  # "run" with one worker: it goes on too, and nothing need be there to be resumed


def _moment(*deed: object, trained: int, checkpoint: int | None, command: str = "resume", often: bool = True) -> Moment:
    deeds = (EVERY_ROUND if often else ONLY_ENDS, deed)
    return Moment(deeds=deeds, trained=trained, checkpoint=checkpoint, command=command)


_TRAINED = "fedpriv.federation:FederatedAveraging.run_round"
_RECORDED = "fedpriv.experiment.recording:Recorder.add_round"
_PERMITTED = "fedpriv.experiment.recording:Recorder.permit"
_CHECKPOINT = "latest.safetensors"

# The checkpoint before round 1 is the first one, that after round r is number r + 1.
TEN_MOMENTS: Mapping[str, Moment] = {
    "the first run.json is ready": _moment(
        "kill_replacing", "run.json", "before", 1, trained=0, checkpoint=None, command="run"
    ),
    "run.json is there, no checkpoint": _moment("kill_replacing", _CHECKPOINT, "before", 1, trained=0, checkpoint=None),
    "half a ledger entry": _moment("tear", "ledger.jsonl", 3, trained=2, checkpoint=2),
    "between entry and release": _moment("kill", _PERMITTED, "after", 3, trained=2, checkpoint=2),
    "between entry and release, no checkpoint since the start": _moment(
        "kill", _PERMITTED, "after", 3, trained=2, checkpoint=0, often=False
    ),
    "while a client trains": _moment(
        "kill", "fedpriv.federation.node:Node._work", "before", 10, trained=2, checkpoint=2
    ),
    "between release and record": _moment("kill", _TRAINED, "after", 3, trained=2, checkpoint=2),
    "between tables and checkpoint": _moment("kill_replacing", _CHECKPOINT, "before", 4, trained=3, checkpoint=2),
    "between model and tables": _moment(
        "kill", "fedpriv.experiment.attempt:save_model", "after", 1, trained=5, checkpoint=5
    ),
    "between one table and the other": _moment(
        "kill", "fedpriv.records.tables:TableParts.finish", "after", 1, trained=5, checkpoint=5
    ),
}

MORE_MOMENTS: Mapping[str, Moment] = {
    "the folder was made": _moment(
        "kill", "fedpriv.records.run_folder:RunFolder.create", "after", 1, trained=0, checkpoint=None, command="run"
    ),
    "the logs were made": _moment(
        "kill", "fedpriv.records.hashchain:HashChain.open", "after", 2, trained=0, checkpoint=None, command="run"
    ),
    "the first run.json is there": _moment("kill_replacing", "run.json", "after", 1, trained=0, checkpoint=None),
    "the first checkpoint is there": _moment("kill_replacing", _CHECKPOINT, "after", 1, trained=0, checkpoint=0),
    "half the first ledger entry": _moment("tear", "ledger.jsonl", 1, trained=0, checkpoint=0),
    "half a line of the audit log": _moment("tear", "audit.jsonl", 1, trained=0, checkpoint=None),
    "before the entry": _moment("kill", _PERMITTED, "before", 4, trained=3, checkpoint=3),
    "entry written but not acknowledged": _moment(
        "kill", "fedpriv.records.hashchain:HashChain.append", "after", 4, trained=2, checkpoint=2
    ),
    "all clients but one": _moment(
        "kill", "fedpriv.federation.node:Node._work", "after", 12, trained=2, checkpoint=0, often=False
    ),
    "recorded, not checkpointed": _moment("kill", _RECORDED, "after", 4, trained=4, checkpoint=0, often=False),
    "table of rounds flushed, clients not": _moment(
        "kill", "fedpriv.records.tables:TableParts.flush", "after", 7, trained=3, checkpoint=2
    ),
    "after a checkpoint": _moment("kill_replacing", _CHECKPOINT, "after", 4, trained=3, checkpoint=3),
    "all flushed at the end, not checkpointed": _moment(
        "kill_replacing", _CHECKPOINT, "before", 2, trained=5, checkpoint=0, often=False
    ),
    "before the model": _moment("kill", "fedpriv.experiment.attempt:save_model", "before", 1, trained=5, checkpoint=5),
    "the model is written aside": _moment("kill_replacing", "model.safetensors", "before", 1, trained=5, checkpoint=5),
    "tables merged": _moment(
        "kill", "fedpriv.experiment.recording:Recorder.finish_tables", "after", 1, trained=5, checkpoint=5
    ),
    "completion logged, not stated": _moment(
        "kill", "fedpriv.experiment.recording:Recorder.decide", "after", 2, trained=5, checkpoint=5
    ),
    "stated, not for a reviewer": _moment("kill_replacing", "guarantee.json", "after", 1, trained=5, checkpoint=5),
    "stated, not in run.json": _moment("kill_replacing", "guarantee.md", "after", 1, trained=5, checkpoint=5),
}

IN_A_WORKER = _moment("kill_worker", "fedpriv.federation.node:Node._work", 5, "parent", trained=2, checkpoint=2)


def _kill_and_go_on(moment: Moment, output: Path, *overrides: str) -> Path:
    run = (*SMALL, *overrides, f"output_dir={output}")
    killed = Process("run", *run, deeds=moment.deeds)
    ended = killed.wait()
    assert ended.code == KILLED, ended
    folder = only_run(output)
    if (folder / "run.json").exists():
        record = run_json(folder)
        assert record["status"] == "running"
        assert gone(record["execution"]["worker_pids"])
    _nobody_left(killed.pid)
    if moment.checkpoint is None and not (folder / "run.json").exists():
        assert here("resume", folder).code == 2
    if moment.command == "run":
        ended = fedpriv("run", *run, "workers=1")
    else:
        ended = fedpriv("resume", folder)
    assert ended.code == 0, ended
    return folder


def _nobody_left(group: int) -> None:
    end = time.monotonic() + 20
    while left := group_members(group):
        assert time.monotonic() < end, left
        time.sleep(0.05)


def _ends_as_if_undisturbed(folder: Path, undisturbed: Path, moment: Moment) -> None:
    assert Result.of(folder) == Result.of(undisturbed)
    assert not leftovers(folder)
    execution = run_json(folder)["execution"]
    assert execution["resumed_from"] == moment.checkpoint
    # Only rounds after the last checkpoint were trained again.
    assert execution["rounds_trained"] == moment.trained + ROUNDS - (moment.checkpoint or 0)
    assert here("verify", folder).code == 0


@pytest.mark.parametrize("moment", TEN_MOMENTS.values(), ids=TEN_MOMENTS)
def test_killed_at_ten_moments_the_run_ends_in_the_same_bits(moment, tmp_path, undisturbed):
    folder = _kill_and_go_on(moment, tmp_path)
    _ends_as_if_undisturbed(folder, undisturbed(), moment)


@pytest.mark.slow
@pytest.mark.parametrize("moment", MORE_MOMENTS.values(), ids=MORE_MOMENTS)
def test_killed_at_other_moments_too(moment, tmp_path, undisturbed):
    folder = _kill_and_go_on(moment, tmp_path)
    _ends_as_if_undisturbed(folder, undisturbed(), moment)


@pytest.mark.slow
@pytest.mark.parametrize("workers_then", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_killed_from_within_a_worker(workers_then, tmp_path, undisturbed):
    moment = IN_A_WORKER if workers_then == 2 else dataclasses.replace(IN_A_WORKER, command="run")
    folder = _kill_and_go_on(moment, tmp_path, "workers=2")
    _ends_as_if_undisturbed(folder, undisturbed(), moment)
    execution = run_json(folder)["execution"]
    assert len(execution["worker_pids"]) == (0 if workers_then == 1 else 2)
    assert gone(execution["worker_pids"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name in TEN_MOMENTS if name != "while a client trains"]
)  # that one happens in the worker, above
def test_killed_at_ten_moments_with_two_workers(name, tmp_path, undisturbed):
    moment = TEN_MOMENTS[name]
    folder = _kill_and_go_on(moment, tmp_path, "workers=2")
    _ends_as_if_undisturbed(folder, undisturbed(), moment)
    assert gone(run_json(folder)["execution"]["worker_pids"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        (*SMALL, "privacy=central", "sampling=poisson", "sampling.cohort=2", "federation.dropout=0.2"),
        (*SMALL, "privacy=central_adaptive", "sampling.cohort=2", "federation.dropout=0.2"),
        pytest.param((*SMALL, "privacy=central_per_layer", "sampling.cohort=2"), marks=pytest.mark.slow),
        pytest.param((*SMALL, "privacy=local_gaussian", "sampling.cohort=2"), marks=pytest.mark.slow),
        pytest.param((*SMALL, "privacy=local_laplace", "sampling.cohort=2"), marks=pytest.mark.slow),
        (*SMALL, "privacy=distributed", "sampling.cohort=2", "federation.dropout=0.2"),
        pytest.param((*SMALL, "privacy=ftrl_tree", "sampling.cohort=2"), marks=pytest.mark.slow),
        (*SMALL, "privacy=ftrl_banded", "sampling.cohort=2", "federation.dropout=0.2"),
        (*SMALL, "privacy=both_units", "sampling.cohort=2", "federation.dropout=0.2"),
        (*DIGITS, "privacy=none", "strategy=fedadam", "evaluation.every=2"),
        (*DIGITS, "privacy=none", "strategy=scaffold", "sampling.cohort=2", "federation.dropout=0.2"),
        (*SMALL, "model=mlp", "strategy=personal_layers", "strategy.personal=['output.*']", "split.client_holdout=0.2"),
    ],
    ids=lambda overrides: " ".join(o for o in overrides if o.startswith(("privacy=", "strategy="))),
)
def test_killed_twice_with_other_mechanisms_and_strategies(overrides, tmp_path, undisturbed):
    run = (*overrides, f"output_dir={tmp_path}")
    assert fedpriv("run", *run, deeds=[EVERY_ROUND, ("kill", _TRAINED, "before", 3)]).code == KILLED
    folder = only_run(tmp_path)
    assert fedpriv("resume", folder, deeds=[ONLY_ENDS, ("kill", _RECORDED, "after", 2)]).code == KILLED
    assert fedpriv("resume", folder).code == 0
    assert Result.of(folder) == Result.of(undisturbed(*overrides))
    execution = run_json(folder)["execution"]
    assert execution == {"rounds_trained": 7, "resumed_from": 2, "worker_pids": [], "attempts": 3}
    assert here("verify", folder).code == 0


def test_killed_after_its_last_word_the_run_is_done(tmp_path, undisturbed):
    run = (*SMALL, f"output_dir={tmp_path}")
    deeds = [("kill", "fedpriv.experiment.attempt:destroy_noise_key", "before", 1)]
    assert fedpriv("run", *run, deeds=deeds).code == KILLED
    folder = only_run(tmp_path)
    before = snapshot(folder)
    assert fedpriv("resume", folder).code == 0
    assert snapshot(folder) == before
    assert Result.of(folder) == Result.of(undisturbed())


@pytest.mark.slow
def test_checkpoints_come_every_two_seconds_of_work(tmp_path, undisturbed):
    # Rounds of 1.2 s: checkpoints after rounds 2 and 4.
    deeds = [("slow_rounds", 1.2), ("kill", _PERMITTED, "after", 4)]
    assert fedpriv("run", *SMALL, f"output_dir={tmp_path}", deeds=deeds).code == KILLED
    folder = only_run(tmp_path)
    assert fedpriv("resume", folder).code == 0
    assert Result.of(folder) == Result.of(undisturbed())
    execution = run_json(folder)["execution"]
    assert (execution["resumed_from"], execution["rounds_trained"]) == (2, 6)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_again_and_again_at_random_from_a_plain_shell(workers, tmp_path, undisturbed):
    run = (*SMALL, f"workers={workers}", f"output_dir={tmp_path}")
    rng = random.Random(workers)
    survived = False
    for _ in range(6):
        process = subprocess.Popen(
            [sys.executable, "-m", "fedpriv", "run", *run], stdout=subprocess.DEVNULL, start_new_session=True
        )
        # From the moment that there is a folder: before it nothing can go wrong.
        while process.poll() is None and not list(tmp_path.glob("*/*/.lock")):
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 2.5 if workers == 1 else 6))
        process.kill()
        survived = process.wait() == 0
        _nobody_left(process.pid)
        if survived:
            break
    assert plain_fedpriv("run", *run).code == 0
    folder = only_run(tmp_path)
    assert Result.of(folder) == Result.of(undisturbed())
    assert plain_fedpriv("verify", folder).code == 0


# -- asked to stop -----------------------------------------------------------------------------------------


def _interrupted_then_resumed(folder: Path, undisturbed: Path) -> None:
    """Goes on with one worker, however many there were: starting them is what takes longest."""
    record = run_json(folder)
    assert record["status"] == "interrupted"
    assert record["guarantee"] is not None, "what was released is told"
    assert gone(record["execution"]["worker_pids"])
    assert here("verify", folder).code == 0
    assert fedpriv("run", *SMALL, f"output_dir={folder.parents[1]}").code == 0
    assert Result.of(folder) == Result.of(undisturbed)


def test_ctrl_c_leaves_a_run_that_can_be_resumed(tmp_path, undisturbed):
    deeds = [("terminal_interrupt", "fedpriv.federation.node:Node._work", 6)]
    ended = fedpriv("run", *SMALL, f"output_dir={tmp_path}", deeds=deeds)
    folder = only_run(tmp_path)
    assert ended.code == 130
    assert f"fedpriv resume {folder}" in ended.message
    _interrupted_then_resumed(folder, undisturbed())


@pytest.mark.parametrize(
    "moment", [pytest.param("before", marks=pytest.mark.slow), "during", pytest.param("after", marks=pytest.mark.slow)]
)
def test_ctrl_c_around_a_ledger_entry_counts_it_or_not_but_never_half(moment, tmp_path, undisturbed):
    place = {
        "before": "fedpriv.experiment.recording:Recorder.permit",
        "during": "fedpriv.records.hashchain:_write_all",
        "after": "fedpriv.accounting.budget:EpsilonMeter.spend",
    }[moment]
    # _write_all also writes the first line of the audit log.
    deeds = [("terminal_interrupt", place, 3 if moment == "during" else 2)]
    assert fedpriv("run", *SMALL, f"output_dir={tmp_path}", deeds=deeds).code == 130
    folder = only_run(tmp_path)
    assert len(ledger(folder)) == (2 if moment == "after" else 1)
    _interrupted_then_resumed(folder, undisturbed())


@pytest.mark.slow
def test_ctrl_c_ends_workers_without_a_word_from_them(tmp_path, undisturbed):
    deeds = [("terminal_interrupt", "fedpriv.runtimes.inprocess:InProcessGrid.push_messages", 3)]
    ended = fedpriv("run", *SMALL, "workers=2", f"output_dir={tmp_path}", deeds=deeds)
    assert ended.code == 130
    assert "Interrupted" in ended.message
    _interrupted_then_resumed(only_run(tmp_path), undisturbed())


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("when", ["workers start", "they train"])
def test_asked_to_stop_in_a_plain_shell(signum, when, tmp_path):
    def listen() -> None:  # a shell's background processes, maybe these tests, are born deaf to Ctrl-C
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    process = subprocess.Popen(
        [sys.executable, "-m", "fedpriv", "run", *SMALL, "workers=2", "rounds=4000", f"output_dir={tmp_path}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=listen,
    )
    try:
        while not list(tmp_path.glob("*/*/run.json")):
            time.sleep(0.05)
        folder = only_run(tmp_path)
        if when == "they train":
            while run_json(folder)["rounds"] < 1:
                time.sleep(0.05)
        else:
            time.sleep(1.0)
        os.killpg(process.pid, signum)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert err.startswith("fedpriv: Interrupted. Go on with: fedpriv resume")
    assert len(err.splitlines()) == 1
    _nobody_left(process.pid)
    record = run_json(folder)
    assert record["status"] == "interrupted"
    assert gone(record["execution"]["worker_pids"])


@pytest.mark.slow
def test_a_killed_worker_fails_the_run_which_can_be_resumed(tmp_path, undisturbed):
    deeds = [EVERY_ROUND, ("kill_worker", "fedpriv.federation.node:Node._work", 5, "itself")]
    ended = fedpriv("run", *SMALL, "workers=2", f"output_dir={tmp_path}", deeds=deeds)
    assert ended.code == 1
    assert "Worker process" in ended.message
    assert "exit code -9" in ended.message
    folder = only_run(tmp_path)
    record = run_json(folder)
    assert record["status"] == "failed"
    assert record["error"] in ended.message
    assert gone(record["execution"]["worker_pids"])
    assert here("verify", folder).code == 0
    assert fedpriv("run", *SMALL, f"output_dir={tmp_path}").code == 0
    assert Result.of(folder) == Result.of(undisturbed())


# -- another environment -----------------------------------------------------------------------------------

OTHER_NUMPY = ("version", "numpy", "99.0")


def test_another_package_version_releases_pending_rounds_again_and_pays(tmp_path, undisturbed):
    run = (*SMALL, f"output_dir={tmp_path}")
    assert fedpriv("run", *run, deeds=[EVERY_ROUND, ("kill", _PERMITTED, "after", 3)]).code == KILLED
    folder = only_run(tmp_path)
    ended = fedpriv("resume", folder, deeds=[OTHER_NUMPY])
    assert ended.code == 0
    assert "numpy was" in ended.out
    assert "paid for again" in ended.out
    entries = ledger(folder)
    assert [(e.round, e.attempt) for e in entries] == [(1, 0), (2, 0), (3, 0), (3, 1), (4, 1), (5, 1)]
    # The same cohort and the same law, other noise: the model is another one.
    assert dataclasses.replace(entries[3], attempt=0) == entries[2]
    alone = Result.of(undisturbed())
    assert Result.of(folder).model != alone.model
    guarantee, before = run_json(folder)["guarantee"], run_json(undisturbed())["guarantee"]
    assert guarantee["epsilon"] > before["epsilon"] * 1.02
    assert guarantee["releases"] == before["releases"] * 6 // 5
    assert guarantee["attempts"] == 2
    assert here("verify", folder).code == 0


def test_a_second_attempt_that_is_killed_is_not_paid_a_third_time(tmp_path):
    run = (*SMALL, f"output_dir={tmp_path}")
    assert fedpriv("run", *run, deeds=[EVERY_ROUND, ("kill", _PERMITTED, "after", 3)]).code == KILLED
    folder = only_run(tmp_path)
    deeds = [OTHER_NUMPY, ONLY_ENDS, ("kill", _PERMITTED, "after", 2)]
    assert fedpriv("resume", folder, deeds=deeds).code == KILLED
    assert fedpriv("resume", folder, deeds=[OTHER_NUMPY]).code == 0
    expected = [(1, 0), (2, 0), (3, 0), (3, 1), (4, 1), (5, 1)]
    assert [(e.round, e.attempt) for e in ledger(folder)] == expected


def test_another_package_version_costs_nothing_where_nothing_is_pending(tmp_path, undisturbed):
    run = (*SMALL, f"output_dir={tmp_path}")
    assert fedpriv("run", *run, deeds=[EVERY_ROUND, ("kill", _PERMITTED, "before", 4)]).code == KILLED
    folder = only_run(tmp_path)
    assert fedpriv("resume", folder, deeds=[OTHER_NUMPY]).code == 0
    assert Result.of(folder) == Result.of(undisturbed())
    assert run_json(folder)["packages"]["numpy"] == "99.0"


@pytest.mark.slow
@pytest.mark.parametrize(("back", "attempts"), [((), [0] * 4 + [1] * 2), ((OTHER_NUMPY,), [0] * 5)], ids=str)
def test_entries_belong_to_where_they_were_written_not_to_where_the_run_began(back, attempts, tmp_path):
    # Round 4 was released elsewhere, on a checkpoint from here: here its noise must not be used on another update.
    run = (*SMALL, f"output_dir={tmp_path}")
    assert fedpriv("run", *run, deeds=[EVERY_ROUND, ("kill", _PERMITTED, "before", 4)]).code == KILLED
    folder = only_run(tmp_path)
    assert fedpriv("resume", folder, deeds=[OTHER_NUMPY, ONLY_ENDS, ("kill", _PERMITTED, "after", 1)]).code == KILLED
    assert fedpriv("resume", folder, deeds=back).code == 0
    assert [e.attempt for e in ledger(folder)] == attempts
    assert here("verify", folder).code == 0


def test_a_target_epsilon_is_kept_by_stopping_earlier(tmp_path):
    run = (*SMALL, "privacy.epsilon=8", "privacy.noise_multiplier=null", f"output_dir={tmp_path}")
    assert fedpriv("run", *run, deeds=[EVERY_ROUND, ("kill", _PERMITTED, "after", 3)]).code == KILLED
    folder = only_run(tmp_path)
    assert fedpriv("resume", folder, deeds=[OTHER_NUMPY]).code == 0
    record = run_json(folder)
    assert record["status"] == "stopped_at_budget"
    assert record["rounds"] == 4
    assert [(e.round, e.attempt) for e in ledger(folder)] == [(1, 0), (2, 0), (3, 0), (3, 1), (4, 1)]
    assert 7 < record["guarantee"]["epsilon"] <= 8
    assert (folder / "model.safetensors").exists()
    assert here("verify", folder).code == 0
    assert fedpriv("resume", folder).code == 0


@pytest.mark.slow
def test_a_target_epsilon_is_kept_where_rounds_share_their_noise(tmp_path):
    """Also by a second attempt that is killed before its first checkpoint: its rounds are of one tree."""
    tree = ("privacy=ftrl_tree", "privacy.restart_every=12", "rounds=12", "sampling=all")
    target = ("privacy.epsilon=8", "privacy.noise_multiplier=null", f"output_dir={tmp_path}")
    run = (*SMALL, *tree, *target)
    assert fedpriv("run", *run, deeds=[EVERY_ROUND, ("kill", _PERMITTED, "after", 3)]).code == KILLED
    folder = only_run(tmp_path)
    deeds = [OTHER_NUMPY, ONLY_ENDS, ("kill", _PERMITTED, "after", 6)]
    assert fedpriv("resume", folder, deeds=deeds).code == KILLED
    assert fedpriv("resume", folder, deeds=[OTHER_NUMPY]).code == 0
    assert {e.group for e in ledger(folder)} == {f"rounds 1 to 12, attempt {attempt}" for attempt in (0, 1)}
    assert run_json(folder)["guarantee"]["epsilon"] <= 8
    assert here("verify", folder).code == 0


def test_a_second_attempt_draws_the_cohort_anew_where_sampling_amplifies(tmp_path):
    central = ("privacy=central", "partition.num_clients=40", "sampling.cohort=20")
    run = (*SMALL, *central, f"output_dir={tmp_path}")
    assert fedpriv("run", *run, deeds=[EVERY_ROUND, ("kill", _PERMITTED, "after", 3)]).code == KILLED
    folder = only_run(tmp_path)
    assert fedpriv("resume", folder, deeds=[OTHER_NUMPY]).code == 0
    entries = ledger(folder)
    assert [(e.round, e.attempt) for e in entries] == [(1, 0), (2, 0), (3, 0), (3, 1), (4, 1), (5, 1)]
    assert entries[2].clients != entries[3].clients, "independent releases need independent cohorts"


# -- secret noise ------------------------------------------------------------------------------------------


def test_secret_noise_goes_on_with_its_key_and_gives_it_up_at_the_end(tmp_path):
    run = (*SMALL, "seeds.noise=secret", f"output_dir={tmp_path}")
    assert fedpriv("run", *run, deeds=[ONLY_ENDS, ("kill", _PERMITTED, "after", 3)]).code == KILLED
    folder = only_run(tmp_path)
    key = folder / "noise.key"
    assert key.stat().st_mode & 0o777 == 0o600
    # Twice from the same state: the same key, the same coins.
    twin = tmp_path / "twin"
    twin.mkdir()
    subprocess.run(["cp", "-a", str(folder), str(twin / folder.name)], check=True)
    assert fedpriv("resume", folder).code == 0
    assert fedpriv("resume", twin / folder.name).code == 0
    assert Result.of(folder) == Result.of(twin / folder.name)
    assert [(e.round, e.attempt) for e in ledger(folder)] == [(r, 0) for r in range(1, 6)]
    assert not key.exists()
    assert run_json(folder)["guarantee"]["noise_secret"] is True
    assert here("verify", folder).code == 0


@pytest.mark.parametrize("fate", ["lost", "replaced"])
def test_without_the_secret_key_a_run_does_not_pretend_to_go_on(fate, tmp_path):
    run = (*SMALL, "seeds.noise=secret", f"output_dir={tmp_path}")
    assert fedpriv("run", *run, deeds=[EVERY_ROUND, ("kill", _PERMITTED, "after", 3)]).code == KILLED
    folder = only_run(tmp_path)
    key = folder / "noise.key"
    if fate == "lost":
        key.unlink()
        ended = fedpriv("resume", folder)
        assert ended.code == 2
        assert "force=true" in ended.message
        return
    key.write_bytes(os.urandom(16))
    assert fedpriv("resume", folder).code == 0
    assert [(e.round, e.attempt) for e in ledger(folder)][2:4] == [(3, 0), (3, 1)]


# -- force=true --------------------------------------------------------------------------------------------


def test_forced_again_in_the_same_environment_it_is_the_same_release(tmp_path, undisturbed):
    run = (*SMALL, f"output_dir={tmp_path}")
    assert fedpriv("run", *run).code == 0
    folder = only_run(tmp_path)
    first = Result.of(folder)
    assert "Already done" in fedpriv("run", *run).out
    assert fedpriv("run", *run, "force=true").code == 0
    assert Result.of(folder) == first == Result.of(undisturbed())
    execution = run_json(folder)["execution"]
    assert (execution["attempts"], execution["rounds_trained"]) == (2, 10)
    assert here("verify", folder).code == 0


@pytest.mark.parametrize(
    "place",
    [
        pytest.param(("kill_replacing", "run.json", "after", 1), marks=pytest.mark.slow),
        pytest.param(("kill_replacing", _CHECKPOINT, "before", 1), marks=pytest.mark.slow),
        pytest.param(("kill_replacing", _CHECKPOINT, "after", 1), marks=pytest.mark.slow),
        ("kill", "fedpriv.records.tables:TableParts.discard_after", "after", 1),
        pytest.param(("kill", _RECORDED, "after", 2), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_forced_run_can_be_killed_and_resumed(place, tmp_path, undisturbed):
    run = (*SMALL, f"output_dir={tmp_path}")
    assert fedpriv("run", *run).code == 0
    folder = only_run(tmp_path)
    assert fedpriv("run", *run, "force=true", deeds=[place]).code == KILLED
    assert fedpriv("resume", folder).code == 0
    assert Result.of(folder) == Result.of(undisturbed())
    assert here("verify", folder).code == 0


@pytest.mark.slow
def test_forced_in_another_environment_all_is_released_and_paid_again(tmp_path, undisturbed):
    run = (*SMALL, f"output_dir={tmp_path}")
    assert fedpriv("run", *run).code == 0
    assert fedpriv("run", *run, "force=true", deeds=[OTHER_NUMPY]).code == 0
    folder = only_run(tmp_path)
    assert [e.attempt for e in ledger(folder)] == [0] * 5 + [1] * 5
    assert run_json(folder)["guarantee"]["epsilon"] > run_json(undisturbed())["guarantee"]["epsilon"] * 1.2
    # A ledger with a second attempt: which noise was on what is no longer known for the first.
    assert fedpriv("run", *run, "force=true", deeds=[OTHER_NUMPY]).code == 0
    assert [e.attempt for e in ledger(folder)] == [0] * 5 + [1] * 5 + [2] * 5
    assert here("verify", folder).code == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "seeds", [pytest.param((), marks=pytest.mark.slow), ("seeds.noise=secret",)], ids=["another environment", "secret"]
)
def test_forced_without_budget_it_is_refused_and_what_was_reached_stays(seeds, tmp_path):
    run = (*SMALL, "privacy.epsilon=8", "privacy.noise_multiplier=null", *seeds, f"output_dir={tmp_path}")
    assert fedpriv("run", *run).code == 0
    folder = only_run(tmp_path)
    before = snapshot(folder)
    deeds = [] if seeds else [OTHER_NUMPY]
    for _ in range(2):  # the second finds no key of the first, to mistake for its own
        ended = fedpriv("run", *run, "force=true", deeds=deeds)
        assert ended.code == 3
        assert "has spent the budget" in ended.message
        assert snapshot(folder) == before
    assert here("verify", folder).code == 0


def test_secret_noise_forced_is_another_release(tmp_path):
    run = (*SMALL, "seeds.noise=secret", f"output_dir={tmp_path}")
    assert fedpriv("run", *run).code == 0
    folder = only_run(tmp_path)
    first = Result.of(folder)
    # Killed as soon as it has drawn a new key: the next one shall not take that for the first.
    deeds = [("kill", "fedpriv.experiment.lifecycle:create_noise_key", "after", 1)]
    assert fedpriv("run", *run, "force=true", deeds=deeds).code == KILLED
    assert fedpriv("run", *run, "force=true").code == 0
    assert [e.attempt for e in ledger(folder)] == [0] * 5 + [1] * 5
    assert Result.of(folder).model != first.model
    assert not (folder / "noise.key").exists()
    assert here("verify", folder).code == 0


@pytest.mark.parametrize("seeds", [pytest.param((), marks=pytest.mark.slow), ("seeds.noise=secret",)], ids=str)
def test_a_budget_that_allows_no_round_is_refused_each_time(seeds, tmp_path):
    run = (*SMALL, "privacy.epsilon=0.1", *seeds, f"output_dir={tmp_path}")
    for _ in range(2):
        ended = fedpriv("run", *run)
        assert ended.code == 3
        assert "does not allow even one round" in ended.message
    folder = only_run(tmp_path)
    assert fedpriv("resume", folder).code == 3
    record = json.loads((folder / "run.json").read_text())
    assert (record["status"], record["rounds"], record["ledger"]["count"]) == ("stopped_at_budget", 0, 0)
    assert not (folder / "model.safetensors").exists()
    assert not (folder / "noise.key").exists()
