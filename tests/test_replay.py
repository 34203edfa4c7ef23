"""A finished run is made again from its folder alone; what differs is named, what may make it differ told first."""

import json
import shutil
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file, save_file

import fedpriv
from fedpriv.config import compose
from fedpriv.errors import DamagedRunError, InputError, InterruptedRunError
from fedpriv.experiment import resume, run
from fedpriv.records.run_folder import RunFolder
from fedpriv.replays import replay
from fedpriv.replays.comparison import compare
from fedpriv.replays.content import first_cell

SMALL = ("rounds=3", "partition.num_clients=4", "privacy.epsilon=null", "privacy.accountant=rdp")
EXAMPLE = (*SMALL, "privacy.noise_multiplier=1.0")
CLIENT = (*SMALL, "privacy=central", "privacy.noise_multiplier=1.0", "privacy.clipping_norm=1.0", "sampling=poisson")
CLIENT = (*CLIENT, "sampling.cohort=2")
NONE = ("rounds=3", "partition.num_clients=4", "privacy=none")
PERSONAL = (*NONE, "model=mlp", "strategy=personal_layers", "strategy.personal=['output.*']", "evaluation.clients=true")
FILES = {
    "config.yaml", "rounds.parquet", "clients.parquet", "model.safetensors", "ledger.jsonl", "audit.jsonl",
    "guarantee.json", "guarantee.md", "run.json", "checkpoint",
}  # fmt: skip


@pytest.fixture
def again(silent_reporter):
    """``replay``, and what was told before training began."""

    def call(path, *, keep=None):
        told = []
        before = []
        silent_reporter.started = lambda *a, **k: before.extend(told)
        found = replay(path, keep=keep, reporter=silent_reporter, tell=told.append)
        assert list(found.lines) == told
        return found, before

    return call


@pytest.fixture
def copy(tmp_path):
    return lambda folder: shutil.copytree(folder, tmp_path / "copy" / folder.name)


def _edit(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


# -- what is the same --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "overrides",
    [
        EXAMPLE,
        CLIENT,
        PERSONAL,
        pytest.param((*NONE, "strategy=scaffold"), marks=pytest.mark.slow),
        pytest.param((*NONE, "strategy=flower"), marks=pytest.mark.slow),
        pytest.param((*EXAMPLE, "training.engine=opacus", "federation.dropout=0.3"), marks=pytest.mark.slow),
        pytest.param((*SMALL, "privacy.epsilon=4", "rounds=4", "evaluation.clients=true"), marks=pytest.mark.slow),
    ],
    ids=lambda overrides: " ".join(overrides[2:]),
)
def test_a_run_comes_out_the_same(run_digits, again, overrides):
    found, before = again(run_digits(*overrides).folder)
    assert found.holds
    assert before == []
    assert {line.split()[-1] for line in found.lines if line.startswith("the same")} == FILES
    assert found.lines[-1].startswith("IDENTICAL")
    assert any("rounds.parquet: seconds" in line for line in found.lines)


def test_where_a_run_was_made_and_that_it_was_forced_is_no_matter(run_digits, again, tmp_path):
    ran = run_digits(*EXAMPLE, "force=true", output_dir=tmp_path / "first")
    moved = shutil.move(ran.folder, tmp_path / "moved")
    found, _ = again(Path(moved))
    assert found.holds
    assert list((tmp_path / "first").rglob("run.json")) == []


@pytest.mark.slow
def test_a_run_of_two_workers_comes_out_the_same(run_digits, again):
    assert again(run_digits(*CLIENT, "workers=2").folder)[0].holds


def test_a_replay_is_kept_where_it_is_asked_for(run_digits, again, tmp_path):
    folder = run_digits(*EXAMPLE).folder
    found, _ = again(folder, keep=tmp_path / "kept")
    kept = tmp_path / "kept" / "digits_smoke" / folder.name
    assert found.lines[-1] == f"Kept in {kept}"
    assert (kept / "config.yaml").read_bytes() == (folder / "config.yaml").read_bytes()
    with pytest.raises(InputError, match="exists already"):
        again(folder, keep=tmp_path / "kept")


class _StopsAfter:
    """Ctrl-C after a round."""

    def __init__(self, silent, round_number):
        self._silent, self._round = silent, round_number

    def __getattr__(self, name):
        return getattr(self._silent, name)

    def round_done(self, row, failures):
        if row["round"] == self._round:
            raise KeyboardInterrupt


@pytest.fixture
def interrupted(silent_reporter, tmp_path, monkeypatch):
    """The folder of a run that was stopped after its second round."""

    def folder(*overrides):
        monkeypatch.setattr("fedpriv.experiment.attempt._CHECKPOINT_SECONDS", 0.0)
        config = compose(["experiment=digits_smoke", f"output_dir={tmp_path}", *overrides], config_dir=None)
        with pytest.raises(InterruptedRunError):
            run(config, reporter=_StopsAfter(silent_reporter, 2))
        return silent_reporter.folder

    return folder


@pytest.mark.slow
def test_a_run_that_went_on_after_an_interruption_comes_out_the_same(interrupted, again, silent_reporter):
    folder = interrupted(*EXAMPLE)
    resume(folder, reporter=silent_reporter)
    found, before = again(folder)
    assert found.holds, found
    assert before == []
    assert any("audit.jsonl: starts and interruptions" in line for line in found.lines)


@pytest.mark.slow
def test_rounds_that_were_released_again_are_told_first(interrupted, again, silent_reporter, monkeypatch):
    folder = interrupted(*EXAMPLE)
    with monkeypatch.context() as other:
        other.setattr("fedpriv.records.environment.version", lambda name: "0.0.1")
        resume(folder, reporter=silent_reporter)
    found, before = again(folder)
    assert any("the run was resumed after round 1" in line and "0.0.1" in line for line in before)
    assert any("rounds 2 to 3 were released again" in line for line in before)
    first = {difference.file: difference.place for difference in found.differences}
    assert first["rounds.parquet"].startswith("round 2, ")
    assert not found.lines[-1].endswith("the results are the same.")


# -- what is told first ------------------------------------------------------------------------------------


def test_another_version_of_a_package_is_told_and_the_results_are_the_same(run_digits, again, copy):
    folder = copy(run_digits(*EXAMPLE).folder)
    _edit(folder / "run.json", lambda record: record["packages"].update(torch="1.0.0"))
    found, before = again(folder)
    assert before == [f"Not as it was: packages torch was 1.0.0, is {version('torch')}."]
    assert not found.holds
    assert [str(difference)[:35] for difference in found.differences] == ["run.json: packages.torch was 1.0.0,"]
    assert found.lines[-1].endswith("the results are the same.")


def test_another_revision_and_version_of_fedpriv_are_told(run_digits, again, copy, monkeypatch):
    folder = copy(run_digits(*EXAMPLE).folder)
    monkeypatch.setattr("fedpriv.replays.origin.environment_fingerprint", lambda: {
        "packages": {}, "revision": "another", "cpu": {"flags": "another"},
    })  # fmt: skip
    _, before = again(folder)
    told = "\n".join(before)
    assert "packages fedpriv was" in told
    assert "cpu flags was" in told
    assert f"revision was {run_digits(*EXAMPLE).record.revision}, is another" in told


def test_without_its_checkpoint_a_run_is_replayed_all_the_same(run_digits, again, copy):
    folder = copy(run_digits(*EXAMPLE).folder)
    shutil.rmtree(folder / "checkpoint")
    found, _ = again(folder)
    assert found.holds
    assert "left out  checkpoint: removed from the run's folder" in found.lines


MODEL = """
import torch

def make(num_outputs, **_) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, num_outputs){})
"""


def test_other_code_of_ones_own_is_told(run_digits, again, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    source = tmp_path / "replayed_model.py"
    source.write_text(MODEL.format(""))
    folder = run_digits(*NONE, "model._target_=replayed_model.make", output_dir=tmp_path / "runs").folder
    source.write_text(MODEL.format("") + "# the same to look at\n")
    found, before = again(folder)
    assert before[0].startswith("Not as it was: own code replayed_model was ")
    assert any(difference.file == "run.json" for difference in found.differences)
    assert [f.place for f in found.differences if f.file in ("rounds.parquet", "model.safetensors")] == []


# -- what cannot be replayed -------------------------------------------------------------------------------


def test_secret_noise_cannot_be_reproduced(run_digits, command):
    folder = run_digits(*CLIENT, "seeds.noise=secret").folder
    outcome = command("replay", str(folder))
    assert outcome.code == 2
    assert "cannot be reproduced: its noise came from a secret key" in outcome.err


def test_a_run_that_is_not_finished_cannot(interrupted, again):
    with pytest.raises(InputError, match="interrupted, not finished"):
        again(interrupted(*EXAMPLE))


def test_another_config_than_the_run_was_started_with_cannot(run_digits, again, copy):
    folder = copy(run_digits(*EXAMPLE).folder)
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace("rounds: 3", "rounds: 2"))
    with pytest.raises(DamagedRunError, match="not the one that the run was started with"):
        again(folder)


def test_other_data_or_none_cannot(run_digits, again, tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / "mine.npz"

    def save():
        np.savez(path, x=rng.normal(size=(80, 64)).astype(np.float32), y=np.arange(80) % 2)

    save()
    own = ("data=arrays", f"data.path={path}", "partition=iid", "partition.num_clients=4", "privacy=none", "rounds=1")
    folder = run_digits(*own, output_dir=tmp_path / "runs").folder
    save()
    with pytest.raises(InputError, match="the data is no longer what it was"):
        again(folder)
    path.unlink()
    with pytest.raises(InputError, match=r"cannot be replayed here: .*mine\.npz"):
        again(folder)


@pytest.mark.slow
def test_a_run_that_was_released_twice_cannot(run_digits, again, tmp_path, monkeypatch):
    ran = run_digits(*EXAMPLE, output_dir=tmp_path)
    with monkeypatch.context() as other:
        other.setattr("fedpriv.records.environment.version", lambda name: "0.0.1")
        run_digits(*EXAMPLE, "force=true", output_dir=tmp_path)
    with pytest.raises(InputError, match="released again after earlier releases"):
        again(ran.folder)


# -- what differs ------------------------------------------------------------------------------------------


def _table(name, column, row, value):
    def tamper(folder):
        table = pq.read_table(folder / f"{name}.parquet")
        values = table[column].to_pylist()
        values[row] = value
        index = table.schema.get_field_index(column)
        changed = table.set_column(index, column, pa.array(values, type=table.schema.field(column).type))
        pq.write_table(changed, folder / f"{name}.parquet")

    return tamper


def _rewritten(name, change):
    def tamper(folder):
        path = folder / name
        before = path.read_text()
        path.write_text(change(before))
        assert path.read_text() != before

    return tamper


def _model(folder):
    tensors = load_file(folder / "model.safetensors")
    name = max(tensors, key=lambda name: tensors[name].numel())
    tensors[name][1, 2] += 1e-6
    save_file(tensors, folder / "model.safetensors")


def _json(name, change):
    return lambda folder: _edit(folder / name, change)


TAMPERED = {
    "a metric": (_table("rounds", "test_loss", 1, 0.5), "rounds.parquet: round 2, column test_loss was 0.5, is "),
    "a diagnostic": (
        _table("clients", "diagnostic_loss", 5, 7.0), "clients.parquet: round 2, client 1, column diagnostic_loss was 7"
    ),
    "a row": (
        lambda f: pq.write_table(pq.read_table(f / "rounds.parquet")[:2], f / "rounds.parquet"),
        "rounds.parquet: number of rows was 2, is 3",
    ),
    "a column": (
        lambda f: pq.write_table(
            pq.read_table(f / "clients.parquet").drop_columns(["status"]), f / "clients.parquet"
        ),
        "clients.parquet: column status was absent, is ",
    ),
    "no table": (lambda f: (f / "clients.parquet").write_text("?"), "clients.parquet: the file was unreadable "),
    "no file": (lambda f: (f / "guarantee.md").unlink(), "guarantee.md: the file was missing, is written"),
    "a weight": (_model, ", entry [1, 2] was "),
    "the ledger": (
        _rewritten("ledger.jsonl", lambda text: text.replace('"round":2', '"round":9', 1)),
        "ledger.jsonl: line 2, round was 9, is 2",
    ),
    "a line less": (
        _rewritten("ledger.jsonl", lambda text: "".join(text.splitlines(True)[:2])),
        "ledger.jsonl: line 3 was absent, is there",
    ),
    "a hash": (
        _rewritten("ledger.jsonl", lambda text: text.replace('"hash":"', '"hash":"0', 1)),
        "ledger.jsonl: line 1 was of other bytes",
    ),
    "a decision": (
        _rewritten("audit.jsonl", lambda text: text.replace('"completed"', '"failed"')),
        "audit.jsonl: line 2, event was failed, is completed",
    ),
    "epsilon": (_json("guarantee.json", lambda g: g.update(epsilon=0.1)), "guarantee.json: epsilon was 0.1, is "),
    "the words": (
        _rewritten("guarantee.md", lambda text: text.replace("Guarantee", "Warranty", 1)), "guarantee.md: line 1 was # "
    ),
    "a result": (_json("run.json", lambda r: r["metrics"].update(test_loss=0)), "run.json: metrics.test_loss was 0, "),
    "a result with another version": (
        _json("run.json", lambda r: r.update(packages={}, status="stopped_at_budget")),
        "run.json: status was stopped_at_budget, is completed",
    ),
    "the checkpoint": (
        lambda f: (f / "checkpoint" / "latest.safetensors").write_bytes(b"?"), "checkpoint: the file was unreadable "
    ),
}  # fmt: skip


@pytest.mark.parametrize(("tamper", "told"), TAMPERED.values(), ids=TAMPERED)
def test_the_first_difference_of_a_file_is_named(run_digits, copy, tamper, told):
    folder = run_digits(*EXAMPLE).folder
    tampered = copy(folder)
    tamper(tampered)
    (found,) = [str(file.difference) for file in compare(RunFolder(tampered), RunFolder(folder)) if file.difference]
    assert told in found
    assert "\n" not in found


def test_clocks_and_processes_are_no_difference(run_digits, copy):
    folder = run_digits(*EXAMPLE).folder
    other = copy(folder)
    execution = {"rounds_trained": 9, "resumed_from": 1, "worker_pids": [1], "attempts": 2}
    _edit(other / "run.json", lambda record: record.update(seconds=99.0, execution=execution))
    _table("rounds", "seconds", 0, 99.0)(other)
    assert [file.difference for file in compare(RunFolder(other), RunFolder(folder))] == [None] * len(FILES)


@pytest.mark.parametrize(
    ("then", "now", "same"),
    [
        ([0.0], [-0.0], False),
        ([float("nan")], [float("nan")], True),
        ([None], [0.0], False),
        ([None], [float("nan")], False),
        ([None, 1.0], [None, 1.0], True),
        ([0.1 + 0.2], [0.3], False),
        ([1], [1.0], False),
        (["a", None], ["a", "b"], False),
        ([], [], True),
    ],
)
def test_cells_are_compared_bit_for_bit(then, now, same):
    tables = (pa.table({"round": list(range(len(column))), "value": column}) for column in (then, now))
    assert (first_cell(*tables) is None) == same


def test_the_order_of_columns_and_how_a_table_is_cut_do_not_count():
    table = pa.table({"round": [1, 2], "loss": [0.5, 0.25]})
    cut = pa.concat_tables([table[:1], table[1:]]).select(["loss", "round"])
    assert first_cell(table, cut) is None


# -- the command and the function --------------------------------------------------------------------------


def test_the_command_says_what_differs_and_exits_with_1(run_digits, command, copy):
    folder = copy(run_digits(*EXAMPLE).folder)
    _model(folder)
    (folder / "notes.txt").write_text("mine")
    outcome = command("replay", str(folder))
    assert outcome.code == 1
    assert "DIFFERS   model.safetensors: tensor" in outcome.out
    assert "left out  notes.txt: not part of the result" in outcome.out
    assert "round 3/3" in outcome.out
    assert outcome.out.rstrip().endswith("DIFFERENT: 1 of 10 files did not come out the same.")


def test_the_command_exits_with_2_where_there_is_no_run(command, tmp_path):
    assert command("replay", str(tmp_path)).code == 2


def test_a_notebook_replays_too(run_digits, capsys):
    found = fedpriv.replay(run_digits(*EXAMPLE).folder)
    assert found.holds
    assert found.differences == ()
    assert str(found) == "\n".join(found.lines)
    assert found.lines[-1] in capsys.readouterr().out
