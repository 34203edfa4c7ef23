"""What an adversary who reads one client's message is given, and what its attack gives back."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from fedpriv.errors import ConfigError

from .layers import InputLayer, OutputLayer

IntArray = npt.NDArray[np.int64]
AttackedModel = Literal["initial", "final"]
"""The global model that the client starts from: that of round 1, or the one that the run ends with."""


@dataclass(frozen=True, kw_only=True)
class GradientNeeds:
    """What an attack on gradients has to be given.

    Attributes:
        batch_size: examples behind one message.
        messages: how many are attacked, each by itself.
        model: that their clients start from.
        images: whether it gives back images; else labels only.
        input_layer: whether the model has to begin with a linear layer with bias.
        output_layer: whether it has to end with a linear layer, over classes.
    """

    batch_size: int
    messages: int
    model: AttackedModel
    images: bool
    input_layer: bool
    output_layer: bool


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A bound that a vector is shortened to: its L2 norm (``order`` 2), or its L1 norm (``order`` 1)."""

    norm: float
    order: int


@dataclass(frozen=True, kw_only=True, eq=False)
class GradientObservation:
    """A message of one local step, read as the gradient of the mean loss over the batch.

    Attributes:
        gradient: parameter name -> gradient (float64), as clipped and noised as the message is.
        model: with the parameters that the client started from; the adversary's own copy, in evaluation mode.
        batch_size: of the step, which the adversary knows.
        input_shape: of an example.
        darkest, brightest: what a pixel can be after normalisation, each (channels, 1, 1); None: no images.
        example_clip, client_clip: what each example's, and the whole, gradient was shortened to; None: nothing.
        input_layer, output_layer: the model's, where it has such; ``output_layer`` of classes only.
    """

    gradient: Mapping[str, torch.Tensor]
    model: nn.Module
    batch_size: int
    input_shape: tuple[int, ...]
    darkest: torch.Tensor | None
    brightest: torch.Tensor | None
    example_clip: Clip | None
    client_clip: Clip | None
    input_layer: InputLayer | None
    output_layer: OutputLayer | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Recovered:
    """What an attack makes of one message.

    Attributes:
        images: (batch_size, *input_shape), in no order, as the model gets them; None: it looks for none.
        labels: the distinct labels that it takes to be in the batch (int64, ascending); None: it looks for none.
    """

    images: torch.Tensor | None
    labels: IntArray | None


class GradientAttack(ABC):
    """Recovers inputs or labels of a client's batch from its gradient."""

    @property
    @abstractmethod
    def needs(self) -> GradientNeeds:
        """What it has to be given."""

    @abstractmethod
    def recover(self, seen: GradientObservation, coins: torch.Generator) -> Recovered:
        """What was in the batch; ``coins`` are the adversary's own."""


def check_batches(attack: str, *, batch_size: int, messages: int, model: str) -> None:
    """Raise ConfigError for keys out of their range."""
    for key, value in (("batch_size", batch_size), ("messages", messages)):
        if value < 1:
            raise ConfigError(f"attack.{attack}.{key}={value} must be at least 1.")
    if model not in ("initial", "final"):
        raise ConfigError(f"attack.{attack}.model={model} is unknown; use one of initial, final.")
