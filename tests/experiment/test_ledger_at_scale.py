"""The ledger of 100,000 rounds with 10,000 different clients: its size, and what writing, asking and opening it takes.

Limits are exact for sizes and some five times what a single core of 2026 takes for times.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from fedpriv.accounting.budget import Accounting, EpsilonMeter
from fedpriv.accounting.ledger import compositions
from fedpriv.experiment.recording import Recorder
from fedpriv.privacy.mechanisms import ExampleGaussian
from fedpriv.records.hashchain import GENESIS, HashChain
from fedpriv.records.run_folder import RunFolder
from fedpriv.records.run_record import ChainMark, Execution, RunRecord

ROUNDS, CLIENTS = 100_000, 10_000
ACCOUNTING = Accounting(delta=1e-6, relation="add_or_remove_one", accountant="pld")

OPEN = """
import resource, sys
from pathlib import Path
from fedpriv.accounting.ledger import LedgerTables, compositions
from fedpriv.records.hashchain import HashChain
path, count, head = sys.argv[1:]
with HashChain.open(Path(path), trusted_count=int(count), trusted_head=head) as chain:
    entries = list(LedgerTables().entries(chain.entries))
print(len(entries), len(compositions(entries)), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""

T = TypeVar("T")


def timed(call: Callable[[], T], *, within: float) -> T:
    began = time.perf_counter()
    result = call()
    assert time.perf_counter() - began < within
    return result


def mechanism() -> ExampleGaussian:
    """Of clients that differ in rate, steps and noise."""
    rng = np.random.default_rng(0)
    sizes = np.maximum(10, rng.lognormal(5, 1, CLIENTS)).astype(np.int64)
    return ExampleGaussian(
        max_grad_norm=0.1 + 0.2,
        layer_norms={},
        rates=np.minimum(1, 32 / sizes),
        steps=np.ceil(sizes / 32).astype(np.int64),
        noise_multipliers=rng.uniform(20, 60, CLIENTS),
    )


def recorder(folder: RunFolder, ledger: HashChain, audit: HashChain) -> Recorder:
    return Recorder(
        folder=folder,
        ledger=ledger,
        audit=audit,
        record=RunRecord(
            status="running",
            run_id="0",
            name="scale",
            seed=0,
            metrics={},
            guarantee=None,
            guarantees=[],
            rounds=0,
            seconds=0.0,
            packages={},
            revision="",
            ledger=ChainMark(head=ledger.head, count=ledger.count),
            audit=ChainMark(head=ledger.head, count=0),
            audited=None,
            error=None,
            execution=Execution(rounds_trained=0, resumed_from=None, worker_pids=[], attempts=1),
            extra={},
        ),
    )


@pytest.mark.slow
@pytest.mark.parametrize(("cohort", "megabytes"), [(100, 65), (5_000, 195)])
def test_a_hundred_thousand_rounds_of_ten_thousand_clients(
    cohort: int, megabytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # the disk's pace is not what is measured
    folder, released = RunFolder(tmp_path), mechanism()
    rng = np.random.default_rng(1)
    meter = EpsilonMeter(accounting=ACCOUNTING, cap=np.inf, spent=[])
    with (
        HashChain.open(folder.ledger, trusted_count=0, trusted_head=GENESIS) as ledger,
        HashChain.open(folder.audit, trusted_count=0, trusted_head=GENESIS) as audit,
    ):
        writer = recorder(folder, ledger, audit)
        for round_number in range(1, ROUNDS + 1):
            clients = np.sort(rng.choice(CLIENTS, size=cohort, replace=False, shuffle=False))
            entry = released.entry(round_number=round_number, attempt=0, cohort=clients)
            assert entry is not None
            began = time.perf_counter()
            writer.permit(entry)
            meter.spend(entry)
            if round_number % 20_000 in (0, 1):  # no dearer at the end than at the start
                assert time.perf_counter() - began < 0.05 or round_number == 1
                timed(meter.upper_bound, within=1.0)
        assert ledger.count == ROUNDS + 1
        assert folder.ledger.stat().st_size < megabytes * 1e6

        spent = timed(lambda: compositions(writer.entries), within=5.0)
        earned, worst = ACCOUNTING.worst(spent)
        assert timed(lambda: ACCOUNTING.worst(spent), within=5.0) == (earned, worst)
        assert earned.value <= meter.upper_bound() < 1.5 * earned.value
        count, head = ledger.count, ledger.head

    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", OPEN, folder.ledger, str(count), head], capture_output=True, text=True, check=True
    )
    entries, participants, memory = map(int, done.stdout.split())
    assert time.perf_counter() - began < 75
    assert (entries, participants) == (ROUNDS, len(spent))
    assert memory < 1e9
