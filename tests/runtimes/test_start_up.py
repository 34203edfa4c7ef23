"""What is not imported cannot be slow: start-up is guarded by modules, not by seconds."""

import subprocess
import sys

import pytest

from fedpriv.interactive import run
from fedpriv.runtimes import pools, workers

DIGITS = ("experiment=digits_smoke", "privacy=none", "rounds=1")


def loaded(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print('loaded', *sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return set(done.stdout.rpartition("loaded ")[2].split())


@pytest.mark.slow
def test_a_worker_imports_neither_accountants_nor_opacus():
    found = loaded(f"import {workers.IMPORTED_AHEAD[0]}")
    assert "torch" in found
    assert not found & {
        "opacus",
        "dp_accounting",
        "scipy",
        "sklearn",
        "pandas",
        "pyarrow",
        "hydra",
        "matplotlib",
        "joblib",
    }


def test_starting_workers_imports_nothing_heavy():
    found = loaded("from fedpriv.runtimes.pools import start_early; start_early(None)")
    assert not found & {"torch", "flwr", "hydra", "scipy"}


@pytest.mark.slow
def test_a_run_without_privacy_imports_no_accountant(tmp_path):
    code = f"from fedpriv.cli import main; assert main(['run', *{DIGITS!r}, 'output_dir={tmp_path}']) == 0"
    assert not loaded(code) & {"opacus", "dp_accounting", "matplotlib", "joblib"}


@pytest.mark.slow
def test_runs_of_one_process_share_their_workers_and_give_the_same_bits(tmp_path):
    alone = run(*DIGITS, "workers=1", f"output_dir={tmp_path}/alone")
    together = [run(*DIGITS, "workers=2", f"output_dir={tmp_path}/{name}") for name in ("first", "second")]
    first, second = (record.execution.worker_pids for record in together)
    assert len(first) == 2
    assert list(second) == list(first)
    models = {path.read_bytes() for path in tmp_path.glob("*/*/*/model.safetensors")}
    assert len(models) == 1
    assert alone.execution.worker_pids == []
    pools.close_idle()
