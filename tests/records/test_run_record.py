import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedpriv.errors import DamagedRunError, InputError
from fedpriv.records.hashchain import GENESIS
from fedpriv.records.run_record import ChainMark, Execution, RunRecord


def record() -> RunRecord:
    return RunRecord(
        status="running",
        run_id="0123abcd",
        name="digits",
        seed=0,
        metrics={"test_accuracy": 0.9},
        guarantee=None,
        guarantees=[],
        rounds=3,
        seconds=1.5,
        packages={"torch": "2.9.0"},
        revision="abc",
        ledger=ChainMark(head=GENESIS, count=0),
        audit=ChainMark(head=GENESIS, count=0),
        audited=None,
        error=None,
        execution=Execution(rounds_trained=3, resumed_from=None, worker_pids=[12, 13], attempts=1),
        extra={"population": 10},
    )


def test_a_record_comes_back_as_saved(tmp_path: Path) -> None:
    record().save(tmp_path / "run.json")
    assert RunRecord.load(tmp_path / "run.json") == record()


def test_a_record_shows_itself_in_one_line_and_epsilon_never_below() -> None:
    claimed = replace(record(), guarantee={"epsilon": 1.23451})
    assert repr(claimed) == "RunRecord(digits, 0123abcd, running, rounds=3, test_accuracy=0.9, epsilon=1.2346)"


def test_the_file_has_the_contract_s_words(tmp_path: Path) -> None:
    record().save(tmp_path / "run.json")
    value = json.loads((tmp_path / "run.json").read_text())
    assert set(value) == {
        "schema_version", "status", "run_id", "name", "seed", "metrics", "guarantee", "guarantees", "rounds",
        "seconds", "packages", "revision", "ledger", "audit", "error", "execution", "population",
    }  # fmt: skip
    assert value["schema_version"] == 1
    assert value["ledger"] == {"head": "0" * 64, "count": 0}
    assert value["execution"] == {
        "rounds_trained": 3, "resumed_from": None, "worker_pids": [12, 13], "attempts": 1,
    }  # fmt: skip


def test_a_diverged_loss_is_written_as_null(tmp_path: Path) -> None:
    replace(record(), metrics={"test_loss": float("nan")}).save(tmp_path / "run.json")
    assert "NaN" not in (tmp_path / "run.json").read_text()
    assert RunRecord.load(tmp_path / "run.json").metrics == {"test_loss": None}


def test_an_extra_key_cannot_take_the_place_of_the_record_s_own() -> None:
    with pytest.raises(ValueError, match="seed"):
        replace(record(), extra={"seed": 1}).to_json()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"status": "finished"}, "status"),
        ({"seed": "0"}, "seed"),
        ({"seed": True}, "seed"),
        ({"metrics": None}, "metrics"),
        ({"ledger": {"head": GENESIS}}, "incomplete"),
        ({"schema_version": None}, "schema_version"),
    ],
)
def test_a_field_of_the_wrong_kind_is_named(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps({**record().to_json(), **change}))
    with pytest.raises(DamagedRunError, match=told):
        RunRecord.load(path)


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    for key in set(record().to_json()) - {"population"}:
        path.write_text(json.dumps({k: v for k, v in record().to_json().items() if k != key}))
        with pytest.raises(DamagedRunError, match=key):
            RunRecord.load(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "\udcff", '{"a": 1}'])
def test_what_is_no_record_is_damage(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DamagedRunError, match=r"run\.json"):
        RunRecord.load(path)


def test_a_record_of_a_later_fedpriv_asks_for_that_version(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps({**record().to_json(), "schema_version": 2}))
    with pytest.raises(InputError, match="later fedpriv") as caught:
        RunRecord.load(path)
    assert not isinstance(caught.value, DamagedRunError)
