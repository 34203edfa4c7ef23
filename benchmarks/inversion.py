"""Reconstruction against noise and against epsilon: `python -m benchmarks.inversion [-o OUT]`.

Noise: independent, of so much a coordinate in units of the gradient's length, on a single example's gradient. Epsilon:
runs of digits, whose clients' messages are attacked as the run's own clients make them. Means and standard deviations
over three seeds.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.silent import Silent
from fedpriv.attacks.reconstruction import AnalyticInversion, GradientAttack, GradientInversion, GradientObservation
from fedpriv.config import compose
from fedpriv.experiment import run
from fedpriv.experiment.assembly import Experiment
from fedpriv.experiment.attacking.reconstruction import check_reconstruction, reconstruct
from fedpriv.experiment.attacking.victims import Victims
from fedpriv.streams import Streams, seed_key

SEEDS = (0, 1, 2)
LEVELS = (0.0, 0.0001, 0.001, 0.01, 0.03, 0.1)
EPSILONS = ("inf", "1000", "100", "8", "1")
MESSAGES = 8
DATA = {
    "digits": ("experiment=digits_smoke", "privacy=none"),
    "MNIST-5k": ("experiment=mnist5k_no_privacy",),
}
_BATCH: dict[str, Any] = {"batch_size": 1, "messages": MESSAGES, "model": "initial"}
_SEARCH: dict[str, Any] = {"iterations": 300, "starts": 2, "lr": 0.1, "total_variation": 1e-4}
ATTACKS: dict[str, GradientAttack] = {
    "analytic": AnalyticInversion(**_BATCH),
    **{method: GradientInversion(method=method, **_BATCH, **_SEARCH) for method in ("dlg", "idlg", "cosine")},
}
RUN = (
    "experiment=digits_smoke",
    "model=mlp",
    "rounds=1",
    "attack=[analytic_inversion,gradient_inversion,label_recovery]",
    "attack.gradient_inversion.method=idlg",
    "attack.gradient_inversion.iterations=300",
    "attack.gradient_inversion.starts=2",
    f"attack.gradient_inversion.messages={MESSAGES}",
)


@dataclass(frozen=True, kw_only=True)
class Noised(Victims):
    """Victims whose gradients are disturbed.

    Args:
        noise: standard deviation of each coordinate's, in units of the gradient's length.
    """

    noise: float

    def observed(self, victim: Any, number: int) -> GradientObservation:
        seen, rng = super().observed(victim, number), self.streams.rng("noise", number)
        length = float(torch.cat([part.reshape(-1) for part in seen.gradient.values()]).norm())
        noised = {
            name: part + length * torch.from_numpy(rng.normal(scale=self.noise, size=tuple(part.shape)))
            for name, part in seen.gradient.items()
        }
        return replace(seen, gradient=noised)


def against_noise(data: str, attack: GradientAttack, level: float, seed: int) -> dict[str, Any]:
    experiment = Experiment.assemble(compose([*DATA[data], "model=mlp", f"seed={seed}"], config_dir=None))
    check_reconstruction("attack", attack.needs, experiment)
    model = experiment.new_model().eval()
    streams = Streams(keys=dict.fromkeys(("victims", "victim seeds", "adversary", "noise"), seed_key(seed)))
    victims = Noised(
        experiment=experiment,
        needs=attack.needs,
        parameters=experiment.layout(model).from_module(model),
        model=model,
        state=None,
        noise_multipliers=experiment.privacy.noise_multipliers(),
        streams=streams,
        noise=level,
    )
    return reconstruct(attack, victims, streams=streams, confidence=0.95, tell=lambda _: None)[0]


def noise_table(data: str) -> str:
    lines = [f"| noise | nearest other | {' | '.join(ATTACKS)} |", "| --- " * (len(ATTACKS) + 2) + "|"]
    for level in LEVELS:
        cells, baseline = [], ""
        for attack in ATTACKS.values():
            found = [against_noise(data, attack, level, seed) for seed in SEEDS]
            cells.append(_mean(found, "psnr"))
            baseline = _mean(found, "baseline")
        lines.append(f"| {level:g} | {baseline} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def epsilon_table(privacy: str, out: Path) -> str:
    lines = ["| epsilon | nearest other | analytic | idlg | labels found | labels by chance |", "| --- " * 6 + "|"]
    for epsilon in EPSILONS:
        asked = [*RUN, f"privacy={privacy}", f"privacy.epsilon={epsilon}", f"output_dir={out}", f"name=by_{privacy}"]
        found = [_attacks([*asked, f"seed={seed}"]) for seed in SEEDS]
        analytic, inverted, labels = (
            [one[name] for one in found] for name in ("analytic_inversion", "gradient_inversion", "label_recovery")
        )
        cells = [_mean(analytic, "baseline"), _mean(analytic, "psnr"), _mean(inverted, "psnr")]
        cells += [_mean(labels, "success", 2), _mean(labels, "baseline", 2)]
        lines.append(f"| {epsilon} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def _attacks(overrides: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = run(compose(list(overrides), config_dir=None), reporter=Silent()).extra["attacks"]
    return found


def _mean(found: Sequence[dict[str, Any]], key: str, digits: int = 1) -> str:
    values = [one[key] for one in found]
    return f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inversion", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("outputs/inversion"))
    out: Path = parser.parse_args().output
    out.mkdir(parents=True, exist_ok=True)
    tables = {f"{data}, by noise": noise_table(data) for data in DATA}
    tables |= {f"digits, privacy={privacy}": epsilon_table(privacy, out) for privacy in ("example", "local_gaussian")}
    text = "\n\n".join(f"{title}\n\n{table}" for title, table in tables.items())
    (out / "inversion.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
