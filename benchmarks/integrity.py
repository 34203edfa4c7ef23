"""Malicious clients against defences, on MNIST-5k: `python -m benchmarks.integrity -o OUT`.

100 clients, 20 asked a round, 10 of the 100 are attackers. Runs lie in OUT and are not made again; the tables are
written anew. One attack takes about ten minutes of one core, each further one five.
"""

import argparse
import gc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file

from benchmarks.silent import Silent
from fedpriv.config import compose
from fedpriv.evaluation import evaluate_global
from fedpriv.experiment.assembly import Experiment
from fedpriv.experiment.lifecycle import train_again
from fedpriv.experiment.tampering import tampered_by
from fedpriv.records.run_folder import RunFolder

SEEDS = (0, 1, 2)
COMMON = (
    "experiment=mnist5k_client_dp",
    "model=mlp",
    "rounds=25",
    "evaluation.every=25",
    "evaluation.clients=false",
    "workers=1",
)
_FLOWER = (
    "privacy=none",
    "strategy=flower",
    "sampling.cohort=null",
    "+strategy.flower.fraction_train=0.2",
)


def _stock(name: str, *arguments: str) -> tuple[str, ...]:
    given = (f"+strategy.flower.{argument}" for argument in arguments)
    return (*_FLOWER, f"strategy.flower._target_=flwr.serverapp.strategy.{name}", *given)


def _clipping(epsilon: str, norm: float) -> tuple[str, ...]:
    return ("privacy=central", f"privacy.epsilon={epsilon}", f"privacy.clipping_norm={norm}")


DEFENCES: Mapping[str, Sequence[str]] = {
    "none": ("privacy=none",),
    "Krum": _stock("Krum", "num_malicious_nodes=4"),
    "MultiKrum": _stock("MultiKrum", "num_malicious_nodes=4", "num_nodes_to_select=14"),
    "trimmed mean": _stock("FedTrimmedAvg", "beta=0.2"),
    "median": _stock("FedMedian"),
    "Bulyan": _stock("Bulyan", "num_malicious_nodes=4"),
    "clipping to 1": _clipping("inf", 1.0),
    "clipping to 1, epsilon 8": _clipping("8", 1.0),
    "clipping to 1, epsilon 3": _clipping("3", 1.0),
    "clipping to 0.3": _clipping("inf", 0.3),
    "clipping to 0.3, epsilon 8": _clipping("8", 0.3),
}
ATTACKS: Mapping[str, Sequence[str]] = {
    "backdoor, replacing": ("attack=backdoor", "attack.backdoor.boost=replace"),
    "backdoor": ("attack=backdoor",),
    "label flip, replacing": ("attack=label_flip", "attack.label_flip.boost=replace"),
    "boosted, 10 times": ("attack=boosted", "attack.boosted.boost=10"),
    "sign flip, 10 times": ("attack=sign_flip", "attack.sign_flip.scale=10"),
}


def measured(experiment: Experiment, out: Path) -> tuple[float, Any]:
    """Test accuracy and the model of one run, made if it is not there."""
    folder = RunFolder(out / experiment.run_id())
    if not (folder.run_json.exists() and folder.read_run_json().is_done):
        gc.freeze()  # Flower's Bulyan collects garbage twelve times a round, all modules included
        train_again(experiment, folder.path, reporter=Silent())
    model = experiment.new_model()
    model.load_state_dict(load_file(folder.model))
    told = evaluate_global(model, data=experiment.data, task=experiment.task, device=experiment.device)
    return told["test_accuracy"], model


def one(defence: str, attack: str, seed: int, out: Path) -> tuple[float, float, float, float]:
    """Accuracy and success under attack, and the same without."""
    given = (*COMMON, *DEFENCES[defence], f"seed={seed}")
    attacked_config = compose([*given, *ATTACKS[attack], *_a_tenth(attack)], config_dir=None)
    attacked = Experiment.assemble(attacked_config)
    tampered = tampered_by(attacked)
    assert tampered is not None
    tampered.check()
    accuracy, model = measured(attacked, out)
    clean_accuracy, clean_model = measured(Experiment.assemble(compose(list(given), config_dir=None)), out)
    success, baseline = tampered.outcome(model).success, tampered.outcome(clean_model).success
    assert success is not None
    assert baseline is not None
    return accuracy, success, clean_accuracy, baseline


def _a_tenth(attack: str) -> tuple[str, ...]:
    name = ATTACKS[attack][0].partition("=")[2]
    return (f"attack.{name}.attackers=0.1",)


def _mean(values: Sequence[float]) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"


def table(attack: str, rows: Mapping[str, Sequence[tuple[float, float, float, float]]]) -> str:
    lines = [
        f"\n{attack}\n",
        "| defence | success | success without attack | test accuracy | accuracy without attack |",
    ]
    lines.append("| --- " * 5 + "|")
    for defence, found in rows.items():
        accuracy, success, clean, baseline = (list(column) for column in zip(*found, strict=True))
        lines.append(f"| {defence} | {_mean(success)} | {_mean(baseline)} | {_mean(accuracy)} | {_mean(clean)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("-o", type=Path, required=True, metavar="OUT")
    parser.add_argument("--attack", choices=ATTACKS, action="append", help="several may be given; the first by default")
    arguments = parser.parse_args()
    arguments.o.mkdir(parents=True, exist_ok=True)
    for attack in arguments.attack or list(ATTACKS)[:1]:
        rows = {d: [one(d, attack, seed, arguments.o) for seed in SEEDS] for d in DEFENCES}
        print(table(attack, rows), flush=True)


if __name__ == "__main__":
    main()
