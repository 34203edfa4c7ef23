"""Example-level DP in fedpriv beside a plain loop of Opacus alone: same clients, same noise, other code.

    python benchmarks/plain_opacus.py --epsilons 8 3 1 --seeds 0 1 2

The plain loop is Opacus' sampler, GradSampleModule and DPOptimizer per client and round, weights averaged by client
size, torch's global generator for every coin. It uses nothing of fedpriv but the partition, the initial weights and
the noise multipliers that fedpriv's run recorded.
"""

import argparse
import copy
import json
import math
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from opacus.grad_sample import GradSampleModule
from opacus.optimizers import DPOptimizer
from opacus.utils.uniform_sampler import UniformWithReplacementSampler
from torch import nn
from torch.utils.data import TensorDataset

from fedpriv.config import Config, compose
from fedpriv.experiment import run
from fedpriv.experiment.assembly import Experiment
from fedpriv.progress import TerminalReporter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epsilons", type=float, nargs="+", default=[8.0, 3.0, 1.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--overrides", nargs="*", default=[], help="of the default experiment, e.g. training.lr=0.25")
    parser.add_argument("--output-dir", default=None, help="where fedpriv's runs go (a temporary folder)")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for epsilon in arguments.epsilons:
            for seed in arguments.seeds:
                rows.append(compare(epsilon, seed, arguments.overrides, arguments.output_dir or scratch))
                print(json.dumps(rows[-1]), flush=True)
    print(f"\n{'epsilon':>8} {'fedpriv':>9} {'plain':>9} {'difference':>11}   (mean test accuracy over seeds)")
    for epsilon in arguments.epsilons:
        ours = np.mean([row["fedpriv"] for row in rows if row["epsilon"] == epsilon])
        plain = np.mean([row["plain"] for row in rows if row["epsilon"] == epsilon])
        print(f"{epsilon:8g} {ours:9.4f} {plain:9.4f} {ours - plain:11.4f}")


def compare(epsilon: float, seed: int, overrides: list[str], output_dir: str) -> dict[str, Any]:
    """One run of each; test accuracies."""
    chosen = [f"privacy.epsilon={epsilon}", f"seed={seed}", f"output_dir={output_dir}"]
    config = compose([*overrides, *chosen], config_dir=None)
    record = run(config, reporter=TerminalReporter())
    experiment = Experiment.assemble(config)
    ledger = Path(output_dir) / record.name / record.run_id / "ledger.jsonl"
    first = json.loads(ledger.read_text().splitlines()[0])
    noise = dict(zip(first["clients"], first["noise_multiplier"], strict=True))
    return {
        "epsilon": epsilon,
        "seed": seed,
        "fedpriv": record.metrics["test_accuracy"],
        "plain": plain_loop(experiment, noise, rounds=config.rounds, seed=seed),
    }


def plain_loop(experiment: Experiment, noise: dict[int, float], *, rounds: int, seed: int) -> float:
    """Federated averaging of clients that train with Opacus alone; returns test accuracy."""
    torch.manual_seed(seed + 1000)
    config, data = experiment.config, experiment.data
    model = experiment.new_model()
    clients = data.population_ids.tolist()
    examples = {k: TensorDataset(*data.client(k)) for k in clients}
    total = float(data.client_sizes[clients].sum())
    for _ in range(rounds):
        average = {name: torch.zeros_like(p) for name, p in model.state_dict().items()}
        for k in clients:
            local = train_client(copy.deepcopy(model), examples[k], noise[k], config)
            for name, parameter in local.state_dict().items():
                average[name] += parameter * (len(examples[k]) / total)
        model.load_state_dict(average)
    model.eval()
    with torch.no_grad():
        correct = sum(float((model(x).argmax(1) == y).sum()) for x, y in data.test_batches(1024))
    return correct / len(data.test)


def train_client(model: nn.Module, examples: TensorDataset, noise_multiplier: float, config: Config) -> nn.Module:
    """One client's local epoch of DP-SGD. PrivacyEngine would round the batch size; its parts do not."""
    n, batch_size = len(examples), config.training.batch_size
    rate, steps = min(1.0, batch_size / n), config.training.local_epochs * math.ceil(n / batch_size)
    sampler = UniformWithReplacementSampler(num_samples=n, sample_rate=rate, steps=steps)
    private = GradSampleModule(model.train())
    optimizer = DPOptimizer(
        torch.optim.SGD(private.parameters(), lr=config.training.lr),
        noise_multiplier=noise_multiplier,
        max_grad_norm=config.privacy.max_grad_norm,
        expected_batch_size=rate * n,
    )
    for indices in sampler:
        if indices:  # an empty batch is left out here; it is rare
            x, y = examples[indices]
            optimizer.zero_grad()
            nn.functional.cross_entropy(private(x), y).backward()
            optimizer.step()
    trained: nn.Module = private._module
    return trained


if __name__ == "__main__":
    main()
