"""python -m benchmarks.scale: memory and seconds as cohorts, rounds and populations grow; one process trains.

Clients hold ten examples of a table and train softmax regression with client-level privacy. Each row is a process of
its own; its peak memory is what the operating system says when it ends.
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from benchmarks.workloads import NUM_CLASSES, ROOT
from fedpriv.data import Dataset, Examples

EXAMPLES = 10
CASES = (
    # population, features, cohort, rounds
    (20_000, 32, 100, 5),
    (20_000, 32, 1_000, 5),
    (20_000, 32, 10_000, 5),
    (200, 32, 20, 500),
    (200, 32, 20, 2_000),
    (1_000_000, 8, 10_000, 5),
)


def tables(*, population: int, features: int) -> Dataset:
    """Random rows, ten a client."""
    rng, n = np.random.default_rng(0), population * EXAMPLES
    x, y = rng.standard_normal((n, features), dtype=np.float32), rng.integers(0, NUM_CLASSES, n)
    owners = np.repeat(np.arange(population), EXAMPLES)
    return Dataset(train=Examples(x, y), test=Examples(x[:100], y[:100]), users=owners, num_classes=NUM_CLASSES)


def softmax(*, features: int) -> nn.Module:
    """Softmax regression."""
    return nn.Linear(features, NUM_CLASSES)


def train(population: int, features: int, cohort: int, rounds: int) -> dict[str, float]:
    """Run one case in this process: seconds of a round (median but for the first), peak memory in MB."""
    from benchmarks.with_fedpriv import RUNS, round_seconds
    from fedpriv.interactive import run

    given = ["experiment=digits_smoke", "partition=natural", "training.batch_size=10", "training.lr=0.1"]
    given += ["privacy=central", "privacy.clipping_norm=0.4", "privacy.noise_multiplier=1.0", "privacy.epsilon=null"]
    given += [f"sampling.cohort={cohort}", f"rounds={rounds}", f"evaluation.every={rounds}", "evaluation.clients=false"]
    data = {"_target_": "benchmarks.scale.tables", "population": population, "features": features}
    model = {"_target_": "benchmarks.scale.softmax", "features": features}
    RUNS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=RUNS) as folder:
        record = run(*given, "workers=1", f"output_dir={folder}", data=data, model=model)
        seconds = round_seconds(Path(folder) / record.name / record.run_id)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": statistics.median(seconds[1:]), "peak_mb": peak}


def main() -> None:
    print("| population | features | cohort | rounds | seconds a round | peak memory, MB |")
    print("| --- " * 6 + "|")
    for case in CASES:
        command = [sys.executable, "-m", "benchmarks.scale", *map(str, case)]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if ran.returncode:
            sys.exit(ran.stderr)
        found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
        cells = [*(f"{number:,}" for number in case), f"{found['seconds']:.3g}", f"{found['peak_mb']:.0f}"]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print("\n" + json.dumps(train(*map(int, sys.argv[1:]))))
    else:
        main()
