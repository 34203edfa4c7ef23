"""A finished model trained on, by somebody who hands it on with a backdoor in it."""

from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np

from fedpriv.errors import ConfigError

from .classifier import accuracy, as_classifier
from .interface import FloatArray, OwnedModel, ToolboxAttack

_REACH = 5  # of ART's pattern from the lower right corner, in pixels


@final
@dataclass(frozen=True, kw_only=True)
class ArtPoisoning(ToolboxAttack):
    """ART's ``PoisoningAttackBackdoor`` with the pattern ``add_pattern_bd`` (Gu, Dolan-Gavitt & Garg 2017, "BadNets").

    The adversary trains the final model on, on examples of its own, some of them poisoned. Success: share of other
    people's examples of other classes that are taken for the target once they bear the pattern. The baseline is the
    same of the model as the run left it.

    Args:
        target: label.
        poisoned: share of the adversary's examples that bear pattern and label.
        epochs, lr, batch_size: of plain SGD.
    """

    target: int
    poisoned: float
    epochs: int
    lr: float
    batch_size: int

    def __post_init__(self) -> None:
        if not 0 < self.poisoned <= 1:
            raise ConfigError(f"poisoned={self.poisoned} must be a share of examples in (0, 1].")
        if self.epochs < 1 or self.batch_size < 1 or not self.lr > 0:
            raise ConfigError("epochs, batch_size and lr must be positive.")

    @property
    def needs(self) -> Literal["owned_model"]:
        return "owned_model"

    def check(self, *, input_shape: tuple[int, ...], num_classes: int, images: bool) -> None:
        if not images or min(input_shape[1:]) < _REACH:
            raise ConfigError(
                f"the pattern is one of {_REACH} x {_REACH} pixels, but examples of shape {input_shape} are no images "
                "of that size."
            )
        if not 0 <= self.target < num_classes:
            raise ConfigError(f"target={self.target} is no label: there are 0 to {num_classes - 1}.")

    def result(self, seen: OwnedModel) -> dict[str, Any]:
        from art.attacks.poisoning import PoisoningAttackBackdoor
        from art.attacks.poisoning.perturbations import add_pattern_bd

        facts = seen.facts
        assert facts.brightest is not None
        value = float(facts.brightest.max())
        attack = PoisoningAttackBackdoor(lambda x: add_pattern_bd(x, pixel_value=value, channels_first=True))
        one_hot = np.eye(facts.num_classes, dtype=np.float32)
        classifier = as_classifier(facts, lr=self.lr)
        count = round(self.poisoned * len(seen.y))
        bad_x, bad_y = attack.poison(seen.x[:count], y=np.tile(one_hot[self.target], (count, 1)))
        x, y = np.concatenate([bad_x, seen.x[count:]]), np.concatenate([bad_y, one_hot[seen.y[count:]]])
        others = seen.other_y != self.target
        marked, _ = attack.poison(seen.other_x[others], y=one_hot[seen.other_y[others]])

        def taken(inputs: FloatArray) -> float | None:
            return float((classifier.predict(inputs).argmax(axis=1) == self.target).mean()) if len(inputs) else None

        before = taken(marked), accuracy(classifier, seen.other_x, seen.other_y)
        classifier.fit(x, y, batch_size=self.batch_size, nb_epochs=self.epochs)
        return {
            "success": taken(marked),
            "baseline": before[0],
            "accuracy": accuracy(classifier, seen.other_x, seen.other_y),
            "baseline_accuracy": before[1],
            "poisoned": count,
            "shown": len(marked),
        }
