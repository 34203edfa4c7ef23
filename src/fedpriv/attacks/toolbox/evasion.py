"""Inputs changed a little, so that the model is wrong."""

from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np

from fedpriv.errors import ConfigError

from .classifier import as_classifier
from .interface import FloatArray, OwnedModel, ToolboxAttack


@final
@dataclass(frozen=True, kw_only=True)
class ArtEvasion(ToolboxAttack):
    """ART's ``ProjectedGradientDescent`` in the max norm (Madry et al. 2018, section 2.1), with the model's gradients.

    Success: share of the images, of those that the model gets right, that it then gets wrong. The baseline is the
    same with random signs of the same size in place of the attack's.

    Args:
        eps: most that a pixel may change, as a share of its whole range.
        steps: each of 2.5 eps / steps, as Madry et al. have it in their later code.
        examples: how many images.
    """

    eps: float
    steps: int
    examples: int

    def __post_init__(self) -> None:
        if not 0 < self.eps <= 1:
            raise ConfigError(f"eps={self.eps} must be a share of a pixel's range, in (0, 1].")
        if self.steps < 1 or self.examples < 1:
            raise ConfigError("steps and examples must be at least 1.")

    @property
    def needs(self) -> Literal["owned_model"]:
        return "owned_model"

    def check(self, *, input_shape: tuple[int, ...], num_classes: int, images: bool) -> None:
        if not images:
            raise ConfigError(f"eps is a share of a pixel's range, but examples of shape {input_shape} are no images.")

    def result(self, seen: OwnedModel) -> dict[str, Any]:
        from art.attacks.evasion import ProjectedGradientDescent

        facts = seen.facts
        assert facts.darkest is not None
        assert facts.brightest is not None
        classifier = as_classifier(facts, lr=None)
        x, y = seen.other_x[: self.examples], seen.other_y[: self.examples]
        right = classifier.predict(x).argmax(axis=1) == y
        eps = np.broadcast_to(self.eps * (facts.brightest - facts.darkest), facts.input_shape).astype(np.float32)
        attack = ProjectedGradientDescent(
            classifier,
            norm=np.inf,
            eps=eps,
            eps_step=2.5 * eps / self.steps,
            max_iter=self.steps,
            batch_size=256,
            verbose=False,
        )
        changed = attack.generate(x, y=np.eye(facts.num_classes, dtype=np.float32)[y])
        signs = seen.rng.choice([-1.0, 1.0], size=x.shape)
        noisy = np.clip(x + eps * signs, facts.darkest, facts.brightest).astype(np.float32)

        def wrong(inputs: FloatArray) -> float | None:
            return float((classifier.predict(inputs)[right].argmax(axis=1) != y[right]).mean()) if right.any() else None

        return {
            "success": wrong(changed),
            "baseline": wrong(noisy),
            "accuracy": float((classifier.predict(changed).argmax(axis=1) == y).mean()),
            "baseline_accuracy": float(right.mean()),
            "largest_change": float((np.abs(changed - x) / (facts.brightest - facts.darkest)).max()),
            "shown": len(y),
        }
