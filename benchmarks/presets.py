"""What the presets on real data reach: private, not private, and as one central model. Prints a Markdown table.

python -m benchmarks.presets DIR [--only NAME ...] [--seeds 0 1 2] [--workers 2]

DIR holds the folders that the README names. Variants of a row differ in what the tables below say, in nothing else.
"""

import argparse
import statistics
import tempfile
from collections.abc import Sequence

from benchmarks.silent import Silent
from fedpriv.config import compose
from fedpriv.experiment import run

# Without noise other steps are best: what each preset takes then, chosen by a few trials.
WITHOUT_PRIVACY = {
    "heart_disease_silos": [],
    "adult_table": [],
    "tcga_survival": [],
    "har_subjects": ["training.local_epochs=3", "training.batch_size=32"],
    "shakespeare_roles": [],
    "fashion_example_dp": ["training.lr=0.1", "training.batch_size=32"],
    "cifar_client_dp": [],
}
# One client takes many more steps a round than many do.
CENTRAL = {"cifar_client_dp": ["training.lr=0.02"]}
PRIVATE = {"tcga_survival": ["privacy=central", "privacy.epsilon=20", "privacy.delta=0.01"]}


def variants(name: str) -> dict[str, list[str]]:
    """Overrides of a preset's three variants."""
    without = ["privacy=none", *WITHOUT_PRIVACY[name]]
    central = [*without, "partition=pooled", *CENTRAL.get(name, [])]
    return {"private": PRIVATE.get(name, []), "not private": without, "central": central}


def measure(name: str, overrides: Sequence[str], seeds: Sequence[int], common: Sequence[str]) -> str:
    """The headline metric over seeds and the median seconds, as a cell."""
    values, seconds, baseline, claim = [], [], 0.0, ""
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            given = [f"experiment={name}", f"seed={seed}", f"output_dir={folder}", *common, *overrides]
            record = run(compose(given, config_dir=None), reporter=Silent())
        values.append(float(record.metrics[record.extra["task"]["headline"]] or 0.0))
        baseline = float(record.metrics["baseline"] or 0.0)
        seconds.append(record.seconds)
        claim = "" if record.guarantee is None else f"epsilon {record.guarantee['epsilon']:.3f}, "
    shown = ", ".join(f"{value:.3f}" for value in values)
    return f"{shown} ({claim}{statistics.median(seconds):.0f} s; baseline {baseline:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", metavar="DIR")
    parser.add_argument("--only", nargs="*", default=list(WITHOUT_PRIVACY), choices=list(WITHOUT_PRIVACY))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    common = [f"data.root={arguments.root}", f"workers={arguments.workers}", "evaluation.clients=false"]
    common.append("evaluation.every=1000")
    print("| preset | private | not private | central |\n| --- | --- | --- | --- |")
    for name in arguments.only:
        cells = [measure(name, own, arguments.seeds, common) for own in variants(name).values()]
        print(f"| `{name}` | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
