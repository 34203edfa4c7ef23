import json
import math
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fedpriv
from fedpriv.errors import InputError
from fedpriv.runs import find_runs


@pytest.fixture
def copied(swept, tmp_path):
    """The sweep's runs in a folder that may be damaged, by run id."""
    shutil.copytree(swept, tmp_path / "outputs")
    folders = sorted((tmp_path / "outputs" / "sweep").iterdir())
    return {folder.name: folder for folder in folders if (folder / "run.json").exists()}


@pytest.mark.slow
def test_every_run_below_a_folder_is_found_once(swept):
    runs = find_runs([swept, swept / "sweep"])
    assert (len(runs), runs.others) == (8, ())
    assert [run.path for run in runs] == sorted(run.path for run in runs)
    assert find_runs([runs[3].path])[0].record == runs[3].record


def test_epsilon_is_what_the_ledger_earns(swept):
    for run in find_runs([swept]):
        stated = json.loads((run.path / "run.json").read_text())["guarantee"]
        target = run.config["privacy"]["epsilon"]
        if target in (2.0, 8.0):
            assert stated["epsilon"] == pytest.approx(run.epsilon, rel=1e-6)
            assert 0 < run.epsilon <= target
            assert run.guarantee.keys() == stated.keys()
        else:
            assert target in (None, math.inf)
            assert (run.epsilon, run.guarantee) == (None, None)


def test_a_run_knows_its_metric_and_its_tables(swept):
    run = find_runs([swept])[0]
    assert (run.headline, run.higher_is_better) == ("test_accuracy", True)
    assert run.value == run.record.metrics["test_accuracy"]
    assert run.rounds["round"].to_pylist() == [1]
    assert run.clients.num_rows == 10
    assert 0 < run.baseline < 0.2


def _forge_epsilon(folder):
    record = json.loads((folder / "run.json").read_text())
    record["guarantee"]["epsilon"] = 0.5
    record["guarantees"] = [record["guarantee"]]
    (folder / "run.json").write_text(json.dumps(record))


def _cut_ledger(folder):
    lines = (folder / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "ledger.jsonl").write_bytes(b"".join(lines[:-1]))


def _set_status(status, error=None):
    def change(folder):
        record = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps(record | {"status": status, "error": error}))

    return change


DAMAGES = {
    "forged epsilon": (_forge_epsilon, "completed", "epsilon: stated 0.5"),
    "ledger cut": (_cut_ledger, "completed", "ledger.jsonl ends after"),
    "no ledger": (lambda f: (f / "ledger.jsonl").unlink(), "completed", "Cannot read"),
    "no record": (lambda f: (f / "run.json").unlink(), None, "run.json"),
    "garbled record": (lambda f: (f / "run.json").write_text("{"), None, "is not JSON"),
    "record of another kind": (lambda f: (f / "run.json").write_text("[]"), None, "not a run's record"),
    "other config": (lambda f: (f / "config.yaml").write_text("seed: 5\n"), "completed", "config.yaml is not the one"),
    "no statement": (lambda f: (f / "guarantee.json").unlink(), "completed", "guarantee.json"),
    "running": (_set_status("running"), "running", "fedpriv resume"),
    "interrupted": (_set_status("interrupted"), "interrupted", "was interrupted after 1 rounds"),
    "failed": (_set_status("failed", "No disk."), "failed", "No disk."),
    "odd terms": (
        lambda f: (f / "run.json").write_text(
            json.dumps(json.loads((f / "run.json").read_text()) | {"ledger": {"head": 3, "count": "x"}})
        ),
        "completed",
        "cannot be read: TypeError",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_does_not_hold_is_listed_with_the_reason_and_the_rest_is_read(copied, damage):
    change, status, reason = DAMAGES[damage]
    private = next(f for f in copied.values() if json.loads((f / "run.json").read_text())["guarantee"])
    change(private)
    runs = find_runs([private.parent])
    assert len(runs) == 7
    assert [(other.path, other.status) for other in runs.others] == [(private, status)]
    assert reason in runs.others[0].reason


def test_a_copy_of_a_run_does_not_count_twice(copied):
    first = next(iter(copied.values()))
    shutil.copytree(first, first.parents[1] / "again" / first.name)
    runs = find_runs([first.parents[1]])
    assert len(runs) == 8
    assert [other.reason for other in runs.others] in (
        [f"the same run as {first}"],
        [f"the same run as {first.parents[1] / 'again' / first.name}"],
    )


def test_a_run_that_was_trained_by_other_code_is_no_copy(copied):
    first = next(iter(copied.values()))
    other = shutil.copytree(first, first.parents[1] / "again" / first.name)
    statement = json.loads((other / "guarantee.json").read_text())
    assert statement["revision"] == json.loads((other / "run.json").read_text())["revision"]
    from fedpriv.accounting.statement import markdown

    for name, content in (("guarantee.json", statement), ("run.json", json.loads((other / "run.json").read_text()))):
        (other / name).write_text(json.dumps(content | {"revision": "0123456789abcdef"}))
    (other / "guarantee.md").write_text(markdown(statement | {"revision": "0123456789abcdef"}))
    runs = find_runs([first.parents[1]])
    assert (len(runs), runs.others) == (9, ())


def test_a_path_without_runs_is_refused(tmp_path):
    with pytest.raises(InputError, match="There is no folder"):
        find_runs([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="There is no run in"):
        find_runs([tmp_path / "empty"])


def test_the_frame_has_a_row_a_run_and_a_column_a_swept_key(swept):
    runs = fedpriv.load(swept)
    frame = runs.to_frame()
    assert len(frame) == 8
    assert {"privacy.mechanism", "privacy.epsilon", "test_accuracy", "test_loss", "seed", "path"} <= set(frame.columns)
    assert not {"workers", "output_dir", "seeds.noise", "data._target_"} & set(frame.columns)
    unclaimed = frame[frame["privacy.epsilon"].isna() | (frame["privacy.epsilon"] == math.inf)]
    assert len(unclaimed) == 4
    assert unclaimed["epsilon"].isna().all()
    assert (frame["epsilon"].dropna() <= 8).all()
    assert [run.path for run in runs[2:4]] == [runs[2].path, runs[3].path]


def test_a_notebook_shows_nothing_as_markup_and_no_epsilon_below_its_value(new_run):
    from fedpriv.runs import Runs, Unread

    evil = "<script>alert(1)</script>"
    runs = Runs(
        (
            new_run({"model._target_": evil, evil: 1}, guarantee={"epsilon": 3.00001}, name=evil),
            new_run(guarantee=None),
        ),
        (Unread(new_run().path / evil, None, evil),),
    )
    page = runs._repr_html_()
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 4
    assert "3.0001" in page
    assert "3.00001" not in page
    assert "none" in page


@pytest.mark.parametrize("name", ["run.json", "ledger.jsonl", "audit.jsonl", "config.yaml", "guarantee.json"])
@pytest.mark.parametrize("change", ["cut", "empty", "flipped", "folder"])
def test_no_damage_stops_the_others_from_being_read(copied, name, change):
    folder = next(f for f in copied.values() if json.loads((f / "run.json").read_text())["guarantee"])
    file = folder / name
    content = file.read_bytes()
    file.unlink()
    if change == "folder":
        file.mkdir()
    elif change == "flipped":
        middle = content.index(b'"' if b'"' in content else b":", len(content) // 2)
        file.write_bytes(content[:middle] + b"\x00" + content[middle + 1 :])
    else:
        file.write_bytes(content[: len(content) // 2] if change == "cut" else b"")
    runs = find_runs([folder.parent])
    assert len(runs) == 7
    (other,) = runs.others
    assert other.path == folder
    assert other.reason


def test_a_run_whose_tables_are_damaged_or_tell_of_less_is_listed_and_the_rest_is_read(swept, tmp_path):
    folder = tmp_path / "sweep"
    shutil.copytree(swept, folder)
    private = [run for run in find_runs([folder]) if run.epsilon is not None]
    junk, doctored = (run.path / "rounds.parquet" for run in private[:2])
    junk.write_bytes(b"junk")
    table = pq.read_table(doctored)
    column = table.column_names.index("epsilon")
    pq.write_table(table.set_column(column, "epsilon", pa.array([0.01] * table.num_rows)), doctored)
    claimed = private[2].path / "run.json"
    record = json.loads(claimed.read_text())
    record["metrics"]["test_accuracy"] += 0.01
    claimed.write_text(json.dumps(record))
    found = find_runs([folder])
    reasons = {other.path: other.reason for other in found.others}
    assert "test_accuracy is not that of the last test" in reasons[claimed.parent]
    assert "cannot be read" in reasons[private[0].path]
    assert "less epsilon than the ledger" in reasons[private[1].path]
    assert len(found) >= 2
