"""More clients than a ledger lists one by one: the run is as any other, and so is a killed one."""

import json
import signal
from pathlib import Path

import pytest

from crash.runs import EVERY_ROUND, Process, Result, fedpriv, here, ledger, only_run
from crash.sabotage import Deed
from crash.workload import DIGITS
from fedpriv.accounting.client_table import TabledClients

MANY = (
    *DIGITS,
    "rounds=2",
    "partition.num_clients=1200",
    "sampling.cohort=40",
    "privacy.epsilon=null",
    "privacy.noise_multiplier=1.0",
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("many")
    assert fedpriv("run", *MANY, f"output_dir={output}").code == 0
    return only_run(output)


def test_its_ledger_holds_one_table_and_a_short_line_a_round(finished: Path) -> None:
    table, *rounds = map(json.loads, (finished / "ledger.jsonl").read_text().splitlines())
    assert len(table["table"]["clients"]) > 1000
    assert [(line["table_index"], line["round"], line["cohort"]) for line in rounds] == [(0, 1, 40), (0, 2, 40)]
    assert all(isinstance(entry.clients, TabledClients) for entry in ledger(finished))


def test_it_can_be_verified_and_shown_and_a_changed_number_is_found(finished: Path) -> None:
    assert here("verify", finished).code == 0
    assert here("show", finished).code == 0
    path = finished / "ledger.jsonl"
    before = path.read_text()
    path.write_text(before.replace('"noise_std":[1.0', '"noise_std":[2.0', 1))
    assert path.read_text() != before
    try:
        assert here("verify", finished).code == 1
    finally:
        path.write_text(before)


@pytest.mark.slow
@pytest.mark.parametrize(
    "deed",
    [
        # the first line is the audit log's
        ("kill", "fedpriv.records.hashchain:HashChain.append", "after", 2),
        ("tear", "ledger.jsonl", 1),
        ("kill", "fedpriv.experiment.recording:Recorder.permit", "after", 2),
    ],
    ids=["table written, entry not", "half a table", "between entry and release"],
)
def test_a_killed_one_goes_on_to_the_same_bits(finished: Path, deed: Deed, tmp_path: Path) -> None:
    killed = Process("run", *MANY, f"output_dir={tmp_path}", deeds=(EVERY_ROUND, deed)).wait()
    assert killed.code == -signal.SIGKILL, killed.err
    folder = only_run(tmp_path)
    assert fedpriv("resume", folder).code == 0
    assert Result.of(folder) == Result.of(finished)
    assert here("verify", folder).code == 0
