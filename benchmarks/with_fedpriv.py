"""fedpriv as people run it: Flower messages, two workers with one thread each, run record and ledger on.

Options are Hydra overrides, e.g. training.engine=opacus.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.answer import answer
from benchmarks.workloads import NUM_CLASSES, ROOT, WORKLOADS, Preset, Workload
from fedpriv.data import Dataset, Examples
from fedpriv.interactive import run

RUNS = ROOT / "benchmarks" / ".runs"
"""On the disk that runs are usually on: a ledger's every line is synced."""


def random_data(*, workload: str) -> Dataset:
    """The random examples of a workload, each client's ``users`` its own; ten examples are the test set."""
    source = WORKLOADS[workload].data
    if isinstance(source, Preset):
        raise TypeError(f"{workload} has data of its own.")
    x, y = source.arrays()
    owners = np.repeat(np.arange(source.population), source.examples)
    return Dataset(train=Examples(x, y), test=Examples(x[:10], y[:10]), users=owners, num_classes=NUM_CLASSES)


def main(workload: Workload, rounds: int, options: Sequence[str], *, workers: int = 2) -> list[float]:
    """The rounds' own seconds, from the run's table."""
    # the last round also tests the model, as it must; no other does, and it is not handed on
    asked = [f"rounds={rounds + 1}", f"evaluation.every={rounds + 1}", "evaluation.clients=false"]
    asked += [f"workers={workers}", "threads=1", f"name={workload.name}"]
    given, own = describe(workload)
    RUNS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=RUNS) as folder:
        record = run(*given, *asked, f"output_dir={folder}", *options, **own)
        return round_seconds(Path(folder) / record.name / record.run_id)[:rounds]


def describe(workload: Workload) -> tuple[list[str], dict[str, Any]]:
    """Overrides, and the keyword arguments, for ``fedpriv.run``."""
    if isinstance(workload.data, Preset):
        return workload.data.given, {}
    privacy = {
        "client": ["privacy=central", f"privacy.clipping_norm={workload.clipping_norm}", "sampling=fixed_size"],
        "example": ["privacy=example", f"privacy.max_grad_norm={workload.clipping_norm}"],
    }
    given = [
        "experiment=digits_smoke",
        "partition=natural",
        f"training.batch_size={workload.batch_size}",
        f"training.lr={workload.lr}",
        f"sampling.cohort={workload.cohort}",
        *privacy[workload.protects],
        "privacy.epsilon=null",
        f"privacy.noise_multiplier={workload.noise_multiplier}",
    ]
    # by name: this module is `__main__` when it is run
    data = {"_target_": "benchmarks.with_fedpriv.random_data", "workload": workload.name}
    return given, {"data": data, "model": workload.model}


def round_seconds(folder: Path) -> list[float]:
    """Of each round, from the end of the one before to its own: ledger, messages, training, step, tables."""
    from pyarrow import parquet

    return [float(row["seconds"]) for row in parquet.read_table(folder / "rounds.parquet").to_pylist()]


if __name__ == "__main__":
    answer(main)
