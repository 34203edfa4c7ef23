"""A damaged run folder is told from an unfinished one; a full disk leaves nothing half-written."""

import json
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from crash.runs import (
    EVERY_ROUND,
    Process,
    Result,
    fedpriv,
    here,
    leftovers,
    only_run,
    plain_fedpriv,
    run_json,
    snapshot,
)
from crash.workload import SMALL

KILLED = -signal.SIGKILL


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A completed run."""
    output = tmp_path_factory.mktemp("done")
    assert fedpriv("run", *SMALL, f"output_dir={output}").code == 0
    return only_run(output)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run killed in round 4, its checkpoint of round 3."""
    output = tmp_path_factory.mktemp("killed")
    deeds = [EVERY_ROUND, ("kill", "fedpriv.experiment.recording:Recorder.permit", "after", 4)]
    assert fedpriv("run", *SMALL, f"output_dir={output}", deeds=deeds).code == KILLED
    return only_run(output)


@pytest.fixture
def done_copy(done: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(done, tmp_path / "done"))


@pytest.fixture
def killed_copy(killed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(killed, tmp_path / "killed"))


# -- resume ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ledger.jsonl", "audit.jsonl"])
def test_a_torn_last_line_resumes(name, killed_copy, done):
    path = killed_copy / name
    path.write_bytes(path.read_bytes() + b'{"attempt":0,"clients":[')
    assert fedpriv("resume", killed_copy).code == 0
    assert Result.of(killed_copy) == Result.of(done)
    assert here("verify", killed_copy).code == 0


def _cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def _edit(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))


def _flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def _drop_line(path: Path, index: int) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    del lines[index]
    path.write_bytes(b"".join(lines))


DAMAGE: dict[str, Callable[[Path], None]] = {
    "ledger edited": lambda run: _edit(run / "ledger.jsonl", b'"noise_std":[1.0', b'"noise_std":[2.0'),
    "ledger without a line": lambda run: _drop_line(run / "ledger.jsonl", 0),
    "ledger cut before the checkpoint": lambda run: _cut(run / "ledger.jsonl", 900),
    "ledger gone": lambda run: (run / "ledger.jsonl").unlink(),
    "ledger not text": lambda run: (run / "ledger.jsonl").write_bytes(b"\xff\n" * 9),
    "audit log edited": lambda run: _edit(run / "audit.jsonl", b"started", b"stopped"),
    "checkpoint flipped": lambda run: _flip(run / "checkpoint" / "latest.safetensors", -9),
    "checkpoint cut": lambda run: _cut(run / "checkpoint" / "latest.safetensors", 1000),
    "checkpoint empty": lambda run: _cut(run / "checkpoint" / "latest.safetensors", 0),
    "checkpoint gone": lambda run: (run / "checkpoint" / "latest.safetensors").unlink(),
    "run.json cut": lambda run: _cut(run / "run.json", 100),
    "run.json gone": lambda run: (run / "run.json").unlink(),
    "config not one": lambda run: (run / "config.yaml").write_text("rounds: [1\n"),
    "config edited": lambda run: _edit(run / "config.yaml", b"lr: 0.5", b"lr: 0.6"),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_other_damage_is_one_message_and_changes_nothing(damage, killed_copy):
    damage(killed_copy)
    before = snapshot(killed_copy)
    ended = here("resume", killed_copy)
    assert ended.code == 2
    assert str(killed_copy) in ended.message
    assert snapshot(killed_copy) == before


@pytest.mark.parametrize(
    "name",
    ["checkpoint flipped", *(pytest.param(n, marks=pytest.mark.slow) for n in ("run.json cut", "checkpoint gone"))],
)
def test_force_starts_anew_over_what_is_damaged_as_the_message_says(name, tmp_path):
    run = (*SMALL, f"output_dir={tmp_path}")
    deeds = [EVERY_ROUND, ("kill", "fedpriv.experiment.recording:Recorder.permit", "after", 2)]
    assert fedpriv("run", *run, deeds=deeds).code == KILLED
    folder = only_run(tmp_path)
    DAMAGE[name](folder)
    ended = fedpriv("run", *run)
    assert ended.code == 2
    assert "force=true" in ended.message
    assert fedpriv("run", *run, "force=true").code == 0
    attempts = [json.loads(line)["attempt"] for line in (folder / "ledger.jsonl").read_text().splitlines()]
    # Without the checkpoint nobody knows where the first rounds were trained: they are paid for again.
    assert attempts == ([0] * 5 if name == "run.json cut" else [0] * 2 + [1] * 5)
    assert here("verify", folder).code == 0


def test_a_ledger_shorter_than_run_json_says_is_damage(tmp_path):
    # Interrupted: run.json knows of an entry that the checkpoint does not.
    deeds = [("checkpoint_seconds", float("inf")), ("terminal_interrupt", "fedpriv.federation.node:Node._work", 6)]
    assert fedpriv("run", *SMALL, f"output_dir={tmp_path}", deeds=deeds).code == 130
    folder = only_run(tmp_path)
    _drop_line(folder / "ledger.jsonl", -1)
    ended = here("resume", folder)
    assert ended.code == 2
    assert "ledger.jsonl" in ended.message


@pytest.mark.parametrize("command", ["resume", "verify", "show"])
def test_what_is_no_run_is_told(command, tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        ended = here(command, place)
        assert ended.code == 2
        assert str(place) in ended.message


@pytest.mark.slow
def test_resuming_a_completed_run_changes_nothing(done):
    before = snapshot(done)
    ended = plain_fedpriv("resume", done)
    assert ended.code == 0
    assert "Already done" in ended.out
    assert snapshot(done) == before


@pytest.mark.slow
def test_a_run_has_one_owner(tmp_path, done):
    run = (*SMALL, f"output_dir={tmp_path}")
    owner = Process("run", *run, deeds=[("slow_rounds", 2.0)])
    while not list(tmp_path.glob("*/*/run.json")):
        time.sleep(0.02)
    folder = only_run(tmp_path)
    for second in (here("resume", folder), here("run", *run), here("run", *run, "force=true")):
        assert second.code == 2
        assert "Another process" in second.message
    assert owner.wait().code == 0
    assert Result.of(folder) == Result.of(done)


# -- verify ------------------------------------------------------------------------------------------------


def _change(run: Path, **changes: object) -> None:
    record = run_json(run)
    guarantee = {**record["guarantee"], **changes}
    (run / "run.json").write_text(json.dumps({**record, "guarantee": guarantee, "guarantees": [guarantee]}))


def _rechain(path: Path, old: bytes, new: bytes) -> None:
    """Edit a log and make its hashes agree again, as a forger would."""
    from fedpriv.records.hashchain import GENESIS, HashChain

    lines = [json.loads(line) for line in path.read_bytes().replace(old, new).splitlines()]
    path.unlink()
    with HashChain.open(path, trusted_count=0, trusted_head=GENESIS) as chain:
        for line in lines:
            chain.append({key: value for key, value in line.items() if key not in ("hash", "index", "prev")})


FALSE: dict[str, Callable[[Path], None]] = {
    "a smaller epsilon": lambda run: _change(run, epsilon=run_json(run)["guarantee"]["epsilon"] * 0.999),
    "a smaller delta": lambda run: _change(run, delta=1e-9),
    "another unit": lambda run: _change(run, unit="client"),
    "fewer releases": lambda run: _change(run, releases=1),
    "no guarantee": lambda run: (run / "run.json").write_text(
        json.dumps({**run_json(run), "guarantee": None, "guarantees": []})
    ),
    "an edited ledger line": lambda run: _edit(run / "ledger.jsonl", b'"noise_std":[1.0', b'"noise_std":[2.0'),
    "a forged ledger": lambda run: _rechain(run / "ledger.jsonl", b'"noise_std":[1.0', b'"noise_std":[2.0'),
    "a shorter ledger": lambda run: _drop_line(run / "ledger.jsonl", -1),
    "a longer ledger": lambda run: (run / "ledger.jsonl").write_bytes((run / "ledger.jsonl").read_bytes() + b"{"),
    "an edited audit log": lambda run: _edit(run / "audit.jsonl", b"completed", b"abandoned"),
}


def test_a_completed_run_verifies(done):
    before = snapshot(done)
    ended = here("verify", done)
    assert ended.code == 0
    assert f"{run_json(done)['guarantee']['epsilon']:.6f}" in ended.out
    assert snapshot(done) == before


def test_an_unfinished_run_verifies(killed):
    assert here("verify", killed).code == 0


@pytest.mark.parametrize("tamper", FALSE.values(), ids=FALSE)
def test_what_is_not_true_does_not_verify(tamper, done_copy):
    tamper(done_copy)
    ended = here("verify", done_copy)
    assert ended.code == 1
    assert "FAILS" in ended.out


@pytest.mark.parametrize("name", ["run.json", "ledger.jsonl", "audit.jsonl"])
@pytest.mark.parametrize("fate", ["gone", "garbage"])
def test_what_cannot_be_read_cannot_be_verified(name, fate, done_copy):
    if fate == "gone":
        (done_copy / name).unlink()
    else:
        (done_copy / name).write_bytes(b"\x00garbage\n" * 3)
    ended = here("verify", done_copy)
    assert ended.code == 2
    assert name in ended.message


# -- a full disk -------------------------------------------------------------------------------------------


FULL = [
    ("file_limit", 0),
    ("file_limit", 2_700),
    *(pytest.param(("file_limit", size), marks=pytest.mark.slow) for size in (300, 1_500, 2_000)),
    *(pytest.param(("full_disk", n), marks=pytest.mark.slow) for n in range(1, 66, 3)),
]


@pytest.mark.slow
@pytest.mark.parametrize("disk", FULL, ids=str)
def test_a_full_disk_is_one_message_and_can_be_resumed(disk, tmp_path, done):
    run = (*SMALL, f"output_dir={tmp_path}")
    ended = fedpriv("run", *run, deeds=[EVERY_ROUND, disk])
    assert ended.code == 1
    assert "Cannot write" in ended.message
    assert "Free some space" in ended.message
    folders = list(tmp_path.glob("*/*"))
    for folder in folders:
        assert not leftovers(folder)
        if (folder / "run.json").exists():
            assert run_json(folder)["status"] in ("running", "failed")
            assert here("verify", folder).code == 0
    assert fedpriv("run", *run).code == 0
    assert Result.of(only_run(tmp_path)) == Result.of(done)


def test_a_place_that_takes_no_files_is_told():
    ended = fedpriv("run", *SMALL, "output_dir=/proc/runs")
    assert ended.code == 2
    assert "Choose another output_dir" in ended.message


def test_a_file_in_the_way_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    ended = fedpriv("run", *SMALL, f"output_dir={tmp_path / 'file'}")
    assert ended.code == 2
    assert "a file is in the way" in ended.message
