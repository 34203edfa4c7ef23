"""Whose record a message holds, against what protects it.

``python -m benchmarks.attribute_inference --data DIR -o OUT``

Adult and COMPAS (DIR holds adult/ and compas/), from the first round's model; the table of
docs/attacks/attribute_inference.md.
"""

import argparse
import statistics
from pathlib import Path

from benchmarks.silent import Silent
from fedpriv.config import compose
from fedpriv.experiment import run

DATA = {
    "Adult, sex: Female": ("adult_table", "{sex: Female}"),
    "COMPAS, sex: Female": ("compas_table", "{sex: Female}"),
}
SETTINGS = {
    "none": ["privacy=none"],
    "`local_gaussian`, epsilon 8": ["privacy=local_gaussian", "privacy.epsilon=8"],
    "`example`, epsilon 8": ["privacy=example", "privacy.epsilon=8"],
    "`central`, epsilon 8": ["privacy=central", "privacy.epsilon=8"],
}
SEEDS = (0, 1, 2)
COLUMNS = ("success", "control", "accuracy", "baseline", "auc")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    asked = parser.parse_args()
    print("| data | privacy | " + " | ".join(COLUMNS) + " |\n|" + " --- |" * (len(COLUMNS) + 2), flush=True)
    for data, preset in DATA.items():
        for name, own in SETTINGS.items():
            shared = [f"experiment={preset}", f"data.root={asked.data}", "rounds=1", "evaluation.clients=false"]
            shared += ["attack=attribute_inference", "attack.attribute_inference.group={sex: Female}"]
            found = []
            for seed in SEEDS:
                config = compose([*shared, *own, f"seed={seed}", f"output_dir={asked.output}"], config_dir=None)
                found.append(run(config, reporter=Silent()).extra["attacks"]["attribute_inference"])
            cells = [
                f"{statistics.mean(one[key] for one in found):.3f} ± {statistics.stdev(one[key] for one in found):.3f}"
                for key in COLUMNS
            ]
            print(f"| {data} | {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
