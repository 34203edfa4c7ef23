"""What an adversary who has the final model itself is given: parameters, and examples of its own."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from torch import nn

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelFacts:
    """The model, and what is public of its inputs.

    Attributes:
        model: with the final weights; a copy that the attack may change.
        num_classes: of the logits it returns.
        input_shape: of one example.
        darkest, brightest: what pixels can be after normalisation, each (channels, 1, 1); None: no images.
    """

    model: nn.Module
    num_classes: int
    input_shape: tuple[int, ...]
    darkest: FloatArray | None
    brightest: FloatArray | None


@dataclass(frozen=True, kw_only=True, eq=False)
class OwnedModel:
    """Of an adversary who changes inputs, or hands the model on.

    Attributes:
        x, y: examples of the adversary's own (n, *input_shape), labels (n,).
        other_x, other_y: those that its success is measured on (m, ...).
        rng: the adversary's coins.
    """

    facts: ModelFacts
    x: FloatArray
    y: IntArray
    other_x: FloatArray
    other_y: IntArray
    rng: np.random.Generator


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingKnown:
    """Of an adversary who knows of some examples whether they were trained on, and asks it of others.

    Attributes:
        members_x, members_y, others_x, others_y: of which it is known.
        x, y: of which it is asked; who of them is a member is not in here.
    """

    facts: ModelFacts
    members_x: FloatArray
    members_y: IntArray
    others_x: FloatArray
    others_y: IntArray
    x: FloatArray
    y: IntArray


class ToolboxAttack(ABC):
    """An attack of ART's on the final model. ART's coins are global generators, which the caller seeds."""

    @property
    @abstractmethod
    def needs(self) -> Literal["owned_model", "training_known"]:
        """Which of the two observations it is given."""

    @abstractmethod
    def result(self, seen: Any) -> dict[str, Any] | npt.NDArray[np.float64]:
        """What came of it; for `TrainingKnown` a score for each example that is asked about, higher for members."""

    def check(self, *, input_shape: tuple[int, ...], num_classes: int, images: bool) -> None:  # noqa: B027
        """Raise ConfigError where such examples cannot be attacked so."""
