"""Membership inference against epsilon, on Location-30: `python -m benchmarks.membership DIR -o OUT`.

DIR holds `dataset_location.tgz` (Shokri et al. 2017). Runs, shadow models and attacks lie in OUT and are not made
again; the table and the figure are written anew.
"""

import argparse
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from fedpriv.config import compose
from fedpriv.experiment import run
from fedpriv.tracking import Callback

ATTACKS = ("loss_threshold", "lira_online", "rmia")
EPSILONS = ("inf", "8", "3", "1")
SEEDS = (0, 1, 2)
# 2,004 of 4,008 examples are trained on, the others are the non-members; the 1,002 test examples are RMIA's population.
COMMON = (
    "experiment=mnist5k_example_dp",
    "data=arrays",
    "data.test_fraction=0.2",
    "model=mlp",
    "model.hidden=[128]",
    "partition=pooled",
    "split.client_holdout=0.5",
    "training.batch_size=128",
    "training.lr=1",
    "rounds=40",
    "evaluation.every=40",
    "privacy.max_grad_norm=1",
    f"attack=[{','.join(ATTACKS)}]",
    "attack.rmia.shadows=16",
)
WITHOUT_PRIVACY = (
    "experiment=mnist5k_no_privacy",
    "training.batch_size=32",
    "training.lr=0.2",
    "rounds=60",
    "evaluation.every=60",
)
"""What overfits, for comparison with published figures."""


def location30(folder: Path, out: Path) -> Path:
    """Its 5,010 x 446 binary features and 30 classes as an .npz file."""
    file = out / "location30.npz"
    if not file.exists():
        with tarfile.open(folder / "dataset_location.tgz") as archive:
            member = archive.extractfile("bangkok")
            if member is None:
                raise SystemExit(f"{folder}/dataset_location.tgz has no file bangkok.")
            rows = [line.decode().strip().split(",") for line in member]
        labels = np.array([int(row[0].strip('"')) for row in rows]) - 1
        np.savez(file, x=np.array([row[1:] for row in rows], dtype=np.float32), y=labels)
    return file


def attacked(overrides: Sequence[str]) -> dict[str, Any]:
    """Accuracy, and each attack's result, of one run."""
    record = run(compose(list(overrides), config_dir=None), reporter=_Words())
    return {"accuracy": record.metrics["test_accuracy"], **record.extra["attacks"]}


class _Words(Callback):
    def noted(self, text: str) -> None:
        if "AUC" in text:
            print(f"  {text}", flush=True)


def difference(high: np.ndarray, low: np.ndarray) -> tuple[float, float, float]:
    """Mean of the paired differences with its 95 % interval by Student's t."""
    apart = high - low
    low_end, high_end = stats.t.interval(0.95, len(apart) - 1, loc=apart.mean(), scale=stats.sem(apart))
    return float(apart.mean()), float(low_end), float(high_end)


def table(found: dict[tuple[str, int], dict[str, Any]]) -> str:
    lines = ["| epsilon | test accuracy | " + " | ".join(f"{a} AUC" for a in ATTACKS) + " | LiRA TPR at 1 % FPR |"]
    lines.append("| --- " * (len(ATTACKS) + 3) + "|")
    for epsilon in EPSILONS:
        row = [found[epsilon, seed] for seed in SEEDS]
        cells = [_mean([one["accuracy"] for one in row])]
        cells += [_mean([one[attack]["auc"] for one in row]) for attack in ATTACKS]
        cells.append(_mean([one["lira_online"]["tpr_at_1pct_fpr"] for one in row]))
        lines.append(f"| {epsilon} | " + " | ".join(cells) + " |")
    for attack in ATTACKS:
        at = {e: np.array([found[e, seed][attack]["auc"] for seed in SEEDS]) for e in EPSILONS}
        mean, low, high = difference(at["inf"], at["1"])
        lines.append(f"\n{attack}: AUC at inf less AUC at 1 is {mean:.3f}, 95 % [{low:.3f}, {high:.3f}]")
    return "\n".join(lines)


def _mean(values: Sequence[float]) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"


def draw(found: dict[tuple[str, int], dict[str, Any]], file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    for attack in ATTACKS:
        aucs = np.array([[found[e, seed][attack]["auc"] for seed in SEEDS] for e in EPSILONS])
        spread = stats.t.ppf(0.975, len(SEEDS) - 1) * stats.sem(aucs, axis=1)
        axes.errorbar(range(len(EPSILONS)), aucs.mean(axis=1), yerr=spread, marker="o", capsize=3, label=attack)
    axes.axhline(0.5, color="grey", linewidth=0.8, linestyle="--")
    axes.set_xticks(range(len(EPSILONS)), EPSILONS)
    axes.set_xlabel("epsilon (example level)")
    axes.set_ylabel("AUC of the attack")
    axes.legend(frameon=False)
    figure.savefig(file, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.membership", description=__doc__)
    parser.add_argument("data", type=Path, metavar="DIR")
    parser.add_argument("-o", "--output", type=Path, default=Path("outputs/membership"))
    arguments = parser.parse_args()
    out: Path = arguments.output
    out.mkdir(parents=True, exist_ok=True)
    common = [f"data.path={location30(arguments.data, out)}", f"output_dir={out}"]
    found = {}
    for seed in SEEDS:
        for epsilon in EPSILONS:
            print(f"epsilon={epsilon} seed={seed}", flush=True)
            asked = [*COMMON, *common, f"privacy.epsilon={epsilon}", f"seed={seed}", "name=against_epsilon"]
            found[epsilon, seed] = attacked(asked)
    print(table(found))
    (out / "membership.md").write_text(table(found) + "\n", encoding="utf-8")
    draw(found, out / "membership_against_epsilon.png")
    print("without privacy, overfit")
    plain = [word for word in COMMON if not word.startswith(("privacy.", "experiment="))]
    attacked([*plain, *WITHOUT_PRIVACY, *common, "name=overfit"])


if __name__ == "__main__":
    main()
