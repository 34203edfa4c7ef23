"""What each privacy mechanism is worth at the same epsilon. Leaves run folders, and prints a Markdown table.

python -m benchmarks.mechanisms DIR OUT [--workloads mnist5k writers] [--seeds 0 1 2] [--epsilon 8] [--only NAME ...]
fedpriv report OUT -o mechanisms.html

DIR holds MNIST by writer, as the README says. Runs that OUT has already are not trained again.
"""

import argparse
import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.silent import Silent
from fedpriv.config import compose
from fedpriv.experiment import run

WORKLOADS = {
    "mnist5k": ["experiment=mnist5k_client_dp"],
    "writers": ["experiment=mnist_writers_client_dp", "sampling.cohort=49"],  # so that turns are whole
}
# Of privacy=central, seed 0, the best of 0.1, 0.3 and 1 (mnist5k) or 0.3, 1 and 3; the same for all with a fixed norm.
NORMS = {"mnist5k": 0.3, "writers": 0.3}
MECHANISMS = {
    "none": ["privacy=none"],
    "central": ["privacy=central"],
    "central_adaptive": ["privacy=central_adaptive", "privacy.clipping_norm=0.1"],
    "central_per_layer": ["privacy=central_per_layer"],
    "ftrl_banded, amplified": ["privacy=ftrl_banded", "sampling=cyclic_poisson", "sampling.separation=2"],
    "ftrl_banded, in turns": ["privacy=ftrl_banded", "sampling=round_robin"],
    "ftrl_tree, in turns": ["privacy=ftrl_tree"],
    "central, in turns": ["privacy=central", "sampling=round_robin", "privacy.relation=zero_out"],
    "distributed, in turns": ["privacy=distributed", "privacy.tolerated_dropout=0"],  # as none drops out
    "both_units": ["privacy=both_units"],
    "local_gaussian": ["privacy=local_gaussian"],
    "local_laplace": ["privacy=local_laplace"],
}


def overrides(workload: str, mechanism: str) -> list[str]:
    """Of one row of a workload's table; a norm of the mechanism's own comes last, and holds."""
    own = MECHANISMS[mechanism]
    norm = [] if mechanism == "none" else [f"privacy.clipping_norm={NORMS[workload]}"]
    return [*WORKLOADS[workload], *[o for o in norm if not any("clipping_norm" in given for given in own)], *own]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", metavar="DIR")
    parser.add_argument("out", metavar="OUT")
    parser.add_argument("--workloads", nargs="*", default=list(WORKLOADS), choices=list(WORKLOADS))
    parser.add_argument("--only", nargs="*", default=list(MECHANISMS), choices=list(MECHANISMS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--epsilon", type=float, default=8.0)
    arguments = parser.parse_args()
    print("| workload | mechanism | seeds | mean | noise multiplier |\n| --- | --- | --- | --- | --- |")
    for workload in arguments.workloads:
        for mechanism in arguments.only:
            print(row(arguments, workload, mechanism), flush=True)


def row(arguments: Any, workload: str, mechanism: str) -> str:
    """One mechanism on one workload, over the seeds."""
    epsilon = [] if mechanism == "none" else [f"privacy.epsilon={arguments.epsilon}"]
    data = [f"data.root={arguments.root}"] if workload == "writers" else []
    common = [f"output_dir={arguments.out}", f"name={workload}", "evaluation.clients=false", "evaluation.every=1000"]
    given = [*overrides(workload, mechanism), *epsilon, *data, *common]
    records = [run(compose([*given, f"seed={seed}"], config_dir=None), reporter=Silent()) for seed in arguments.seeds]
    values = [float(record.metrics["test_accuracy"] or 0.0) for record in records]
    return f"| {workload} | {mechanism} | {shown(values)} | {statistics.mean(values):.3f} | {noise(records)} |"


def shown(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


def noise(records: Sequence[Any]) -> str:
    """Least z of the first seed's headline guarantee: clients may have each their own."""
    claim = records[0].guarantee
    return "-" if claim is None else f"{claim['noise_multiplier_min']:.3g}"


if __name__ == "__main__":
    main()
