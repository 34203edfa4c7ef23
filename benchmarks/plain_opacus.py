"""Example-level DP in fedpriv beside a plain loop of Opacus alone: same clients, same noise, other code.

    python benchmarks/plain_opacus.py --epsilons 8 3 1 --seeds 0 1 2

The plain loop is Opacus' sampler, GradSampleModule and DPOptimizer per client and round, weights averaged by client
size. It uses nothing of fedpriv but the partition, the initial weights, the noise multipliers that fedpriv's run
recorded and, with --same-coins, its random streams. Then only the code differs, and accuracies should agree to a
float's rounding; without, every coin is torch's global generator's, and they differ by the luck of the noise.
"""

import argparse
import copy
import json
import math
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path

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
from fedpriv.streams import Streams


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epsilons", type=float, nargs="+", default=[8.0, 3.0, 1.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--same-coins", action="store_true", help="the plain loop draws from fedpriv's streams")
    parser.add_argument("--overrides", nargs="*", default=[], help="of the default experiment, e.g. training.lr=0.25")
    parser.add_argument("--output-dir", default=None, help="where fedpriv's runs go (a temporary folder)")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for epsilon in arguments.epsilons:
            for seed in arguments.seeds:
                chosen = [*arguments.overrides, f"privacy.epsilon={epsilon}", f"seed={seed}"]
                chosen.append(f"output_dir={arguments.output_dir or scratch}")
                accuracies = compare(compose(chosen, config_dir=None), same_coins=arguments.same_coins)
                rows.append({"epsilon": epsilon, "seed": seed, **accuracies})
                print(json.dumps(rows[-1]), flush=True)
    print(f"\n{'epsilon':>8} {'fedpriv':>9} {'plain':>9} {'difference':>11}   (mean test accuracy over seeds)")
    for epsilon in arguments.epsilons:
        ours = np.mean([row["fedpriv"] for row in rows if row["epsilon"] == epsilon])
        plain = np.mean([row["plain"] for row in rows if row["epsilon"] == epsilon])
        print(f"{epsilon:8g} {ours:9.4f} {plain:9.4f} {ours - plain:11.4f}")


def compare(config: Config, *, same_coins: bool) -> dict[str, float]:
    """One run of each; test accuracies."""
    record = run(config, reporter=TerminalReporter())
    experiment = Experiment.assemble(config)
    ledger = Path(config.output_dir) / record.name / record.run_id / "ledger.jsonl"
    first = json.loads(ledger.read_text().splitlines()[0])
    noise = dict(zip(first["clients"], first["noise_multiplier"], strict=True))
    plain = plain_loop(experiment, noise, streams=experiment.streams(None) if same_coins else None)
    return {"fedpriv": float(record.metrics["test_accuracy"] or 0.0), "plain": plain}


def plain_loop(experiment: Experiment, noise: dict[int, float], *, streams: Streams | None) -> float:
    """Federated averaging of clients that train with Opacus alone; returns test accuracy."""
    config, data = experiment.config, experiment.data
    torch.manual_seed(config.seed + 1000)
    model = experiment.new_model()
    clients = data.population_ids.tolist()
    examples = {k: TensorDataset(*data.client(k)) for k in clients}
    total = float(data.client_sizes[clients].sum())
    for round_number in range(1, config.rounds + 1):
        average = {name: torch.zeros_like(p) for name, p in model.state_dict().items()}
        for k in clients:
            coins = None if streams is None else (streams, (round_number, k, 0))
            local = train_client(copy.deepcopy(model), examples[k], noise[k], config, coins)
            for name, parameter in local.state_dict().items():
                average[name] += parameter * (len(examples[k]) / total)
        model.load_state_dict(average)
    model.eval()
    with torch.no_grad():
        correct = sum(float((model(x).argmax(1) == y).sum()) for x, y in data.test_batches(1024))
    return correct / len(data.test)


def train_client(
    model: nn.Module,
    examples: TensorDataset,
    noise_multiplier: float,
    config: Config,
    coins: tuple[Streams, tuple[int, ...]] | None,
) -> nn.Module:
    """One client's local epochs of DP-SGD. PrivacyEngine would round the batch size; its parts do not."""
    n, batch_size = len(examples), config.training.batch_size
    rate, steps = min(1.0, batch_size / n), config.training.local_epochs * math.ceil(n / batch_size)
    batches: Iterable[list[int]]
    if coins is None:
        generator = None
        batches = UniformWithReplacementSampler(num_samples=n, sample_rate=rate, steps=steps)
    else:
        streams, position = coins
        generator, drawn = streams.torch_generator("noise", *position), streams.rng("batches", *position)
        batches = [np.flatnonzero(drawn.random(n) < rate).tolist() for _ in range(steps)]
    private = GradSampleModule(model.train())
    optimizer = DPOptimizer(
        torch.optim.SGD(private.parameters(), lr=config.training.lr),
        noise_multiplier=noise_multiplier,
        max_grad_norm=config.privacy.max_grad_norm,
        expected_batch_size=rate * n,
        generator=generator,
    )
    for indices in batches:
        if indices:  # an empty batch is left out here; it is rare
            x, y = examples[indices]
            optimizer.zero_grad()
            nn.functional.cross_entropy(private(x), y).backward()
            optimizer.step()
    trained: nn.Module = private._module
    return trained


if __name__ == "__main__":
    main()
