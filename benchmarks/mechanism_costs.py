"""What rounds cost with each privacy mechanism, over central fixed clipping, or over DP-SGD. Prints a Markdown table.

python -m benchmarks.mechanism_costs [--workload W1] [--times 3] [--rounds 3] [--only NAME ...]

Runs of all mechanisms take turns, so that a busy machine slows all of them; the median of the measured rounds counts.
"""

import argparse
import statistics
from collections import defaultdict

from benchmarks.with_fedpriv import main as run
from benchmarks.workloads import WORKLOADS

# Everybody's cohorts have the same number of clients in every round, so that all train as many.
IN_TURNS = "sampling=round_robin"
OF_CLIENTS = {
    "central": [],
    "central_adaptive": ["privacy=central_adaptive"],
    "central_per_layer": ["privacy=central_per_layer"],
    "ftrl_tree": ["privacy=ftrl_tree", IN_TURNS],
    "ftrl_banded": ["privacy=ftrl_banded", IN_TURNS],
    "distributed": ["privacy=distributed", IN_TURNS],
    "local_gaussian": ["privacy=local_gaussian"],
    "local_laplace": ["privacy=local_laplace"],
}
OF_EXAMPLES = {
    "example": [],
    "example, by layer": ["+privacy.layer_norms={conv1: 0.5}"],
    "both_units": [
        "privacy=both_units",
        "privacy.max_grad_norm=1.0",
        "privacy.example_epsilon=null",
        "privacy.example_noise_multiplier=1.0",
    ],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", default="W1", choices=list(WORKLOADS))
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=None)
    parser.add_argument("--only", nargs="*", default=[], help="mechanisms; all by default, the first of them always")
    asked = parser.parse_args()
    workload = WORKLOADS[asked.workload]
    known = OF_CLIENTS if workload.protects == "client" else OF_EXAMPLES
    first = next(iter(known))
    chosen = {name: options for name, options in known.items() if not asked.only or name in (first, *asked.only)}
    measured = workload.rounds if asked.rounds is None else asked.rounds
    seconds = defaultdict(list)
    for _ in range(asked.times):
        for name, options in chosen.items():
            rounds = run(workload, workload.warm_up + measured, options)
            seconds[name].append(statistics.median(rounds[workload.warm_up :]))
    print(f"| {workload.name}: mechanism | seconds a round | over {first} |\n| --- | --- | --- |")
    for name, found in seconds.items():
        ratios = [own / base for own, base in zip(found, seconds[first], strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} .. {max(ratios):.2f})"
        print(f"| {name} | {statistics.median(found):.3f} | {spread} |")


if __name__ == "__main__":
    main()
