"""What attacks on gradients come to: refused in time, made message by message, then held against the truth."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fedpriv.attacks.reconstruction import GradientAttack, GradientNeeds, Recovered, find_layers
from fedpriv.attacks.scoring import ImageScore, LabelScore, matched, nearest_others, psnr, ssim
from fedpriv.errors import ConfigError, FedprivError
from fedpriv.experiment.assembly import Experiment
from fedpriv.experiment.attacking.pictures import Pictures, data_uri
from fedpriv.experiment.attacking.victims import Victim, Victims, able_clients, step_per_gradient
from fedpriv.experiment.pixels import pixel_range
from fedpriv.streams import Streams
from fedpriv.training import Classification

_GALLERY = 8
_PATIENCE = 10.0  # seconds of silence


def check_reconstruction(name: str, needs: GradientNeeds, experiment: Experiment) -> None:
    """Raise ConfigError for a run whose messages hold no gradient that this attack could use."""
    config, data = experiment.config, experiment.data
    mechanism, algorithm = config.privacy.mechanism, config.strategy.algorithm
    if mechanism == "distributed":
        raise ConfigError(
            f"attack={name} reads one client's update, but with privacy=distributed the server gets masked shares, of "
            "which only the noisy sum can be read. Leave the attack out."
        )
    if mechanism == "central_per_layer" or config.privacy.layer_norms or config.privacy.group_norms:
        raise ConfigError(
            f"attack={name} reads an update as a gradient clipped as a whole, but here layers or groups have norms of "
            "their own. Leave the attack out."
        )
    if algorithm in ("scaffold", "flower"):
        raise ConfigError(
            f"attack={name} reads an update as a gradient, but with strategy={algorithm} it is more, or another's. "
            "Use strategy=fedavg."
        )
    if config.training.function is not None:
        raise ConfigError(
            f"attack={name} reads an update as a gradient, but training.function trains as it likes. Leave the attack "
            "out."
        )
    step_per_gradient(experiment)
    if needs.images and pixel_range(data) is None:
        raise ConfigError(
            f"attack={name} measures images by PSNR and SSIM, but examples have shape {data.input_shape}: no images. "
            "Use attack=label_recovery."
        )
    if not len(able_clients(experiment, needs.batch_size)):
        raise ConfigError(
            f"attack={name}: no client has {needs.batch_size} examples. Use a smaller attack.{name}.batch_size."
        )
    _check_layers(name, needs, experiment)


def _check_layers(name: str, needs: GradientNeeds, experiment: Experiment) -> None:
    if experiment.data.num_tokens is not None:
        raise ConfigError(f"attack={name} is of images and tables, but the examples are tokens: leave it out.")
    first, last = find_layers(experiment.new_model().eval(), experiment.data.input_shape)
    travelling = experiment.layout(experiment.new_model()).names
    if needs.input_layer and (first is None or not {first.weight, first.bias} <= set(travelling)):
        raise ConfigError(
            f"attack={name} reads the input off a first layer that is linear, with bias, and this model does not begin "
            "with one. Use model=mlp or model=logistic, or attack=gradient_inversion."
        )
    if not needs.output_layer:
        return
    if not isinstance(experiment.task, Classification):
        raise ConfigError(
            f"attack={name} is of classes, but this is task={type(experiment.task).__name__.lower()}: leave it out."
        )
    if last is None or last.weight not in travelling or (last.bias is None and not last.inputs_are_nonnegative):
        raise ConfigError(
            f"attack={name} reads labels off a last layer that is linear, with bias or after a ReLU, and this model "
            "does not end with one. Leave the attack out."
        )


def reconstruct(
    attack: GradientAttack, victims: Victims, *, streams: Streams, confidence: float, tell: Callable[[str], None]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What ``run.json`` is to say, and what the attack's own file has beside it.

    Args:
        streams: coins of ``adversary``.
    """
    needs, chosen = attack.needs, victims.choose()
    found: list[Recovered] = []
    told_at = time.monotonic()
    for number, victim in enumerate(chosen):
        seen = victims.observed(victim, number)
        found.append(attack.recover(seen, streams.torch_generator("adversary", number)))
        if time.monotonic() - told_at > _PATIENCE:
            tell(f"message {number + 1} of {len(chosen)} attacked")
            told_at = time.monotonic()
    shared = {
        "level": "example",
        "sees": "updates",
        "batch_size": needs.batch_size,
        "model": needs.model,
    }
    if not needs.images:
        return {**_labels(victims.experiment, chosen, found), **shared}, {}
    told, more = _images(victims.experiment, chosen, found, confidence)
    return {**told, **shared}, more


def _labels(experiment: Experiment, chosen: Sequence[Victim], found: Sequence[Recovered]) -> dict[str, Any]:
    truth = [np.unique(experiment.data.train.y[victim.rows]).astype(np.int64) for victim in chosen]
    named = [one.labels for one in found if one.labels is not None]
    num_classes = experiment.task.output_shape[-1]
    return LabelScore(truth=truth, found=named, num_classes=num_classes).to_json()


def _images(
    experiment: Experiment, chosen: Sequence[Victim], found: Sequence[Recovered], confidence: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    data, pictures = experiment.data, Pictures(experiment.data)
    truths, guesses, rows = [], [], np.concatenate([victim.rows for victim in chosen])
    for victim, one in zip(chosen, found, strict=True):
        if one.images is None:
            raise FedprivError("The attack gave no images.")
        truth, guess = pictures.of(victim.rows), np.clip(pictures.scaled(one.images), 0, 1)
        truths.append(truth)
        guesses.append(guess[matched(truth, guess)])
    truth, guess = np.concatenate(truths), np.concatenate(guesses)
    others, errors = nearest_others(truth, rows, pictures.blocks())
    score = ImageScore(
        psnr=[psnr(float(((a - b) ** 2).mean())) for a, b in zip(truth, guess, strict=True)],
        baseline=[psnr(error) for error in errors.tolist()],
        ssim=[ssim(a, b) for a, b in zip(truth, guess, strict=True)],
        confidence=confidence,
    )
    nearest = pictures.of(others[:_GALLERY])
    gallery = [
        {
            "truth": data_uri(truth[i]),
            "reconstruction": data_uri(guess[i]),
            "nearest": data_uri(nearest[i]),
            "psnr": score.psnr[i],
            "baseline": score.baseline[i],
            "label": _label(data.train.y[rows[i]]),
        }
        for i in range(min(_GALLERY, len(truth)))
    ]
    by_image = {"psnr": list(score.psnr), "ssim": list(score.ssim), "baseline": list(score.baseline)}
    return score.to_json(), {"gallery": gallery, "by_image": by_image}


def _label(label: Any) -> str:
    return str(label.item()) if isinstance(label, np.generic) and label.ndim == 0 else ""
