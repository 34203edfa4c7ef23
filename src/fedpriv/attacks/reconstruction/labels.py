"""Labels read off the last layer's gradient."""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch

from fedpriv.errors import FedprivError

from .interface import (
    AttackedModel,
    GradientAttack,
    GradientNeeds,
    GradientObservation,
    IntArray,
    Recovered,
    check_batches,
)


@final
@dataclass(frozen=True, kw_only=True)
class LabelRecovery(GradientAttack):
    """Labels whose part of the last layer's gradient is negative (Zhao, Mopuri & Bilen 2020, "iDLG", section 3; of
    batches, Yin et al. 2021, "See through gradients", section 3.2).

    With cross-entropy the gradient of a class's logit is its probability, less 1 where it is the label. Summed over a
    batch it is surely negative at most for labels that are there: of the bias always read so, and of single weights
    where the layer's inputs are never negative. No more labels are named than the batch has examples.

    Args:
        batch_size: examples behind one message.
        messages: how many are attacked.
        model: ``initial`` or ``final``.
    """

    batch_size: int
    messages: int
    model: str

    def __post_init__(self) -> None:
        check_batches("label_recovery", batch_size=self.batch_size, messages=self.messages, model=self.model)

    @property
    def needs(self) -> GradientNeeds:
        model: AttackedModel = "final" if self.model == "final" else "initial"
        return GradientNeeds(
            batch_size=self.batch_size,
            messages=self.messages,
            model=model,
            images=False,
            input_layer=False,
            output_layer=True,
        )

    def recover(self, seen: GradientObservation, coins: torch.Generator) -> Recovered:
        return Recovered(images=None, labels=present_labels(seen))


def present_labels(seen: GradientObservation) -> IntArray:
    """Distinct labels of the batch (int64, ascending), at least one, at most as many as there are examples."""
    lowest = label_gradients(seen)
    order = torch.argsort(lowest, stable=True)[: seen.batch_size]
    negative = order[lowest[order] < 0]
    return np.sort((negative if len(negative) else order[:1]).numpy().astype(np.int64))


def all_labels(seen: GradientObservation) -> torch.Tensor:
    """A label for every example of the batch (int64, ascending).

    Those that are there, and then again and again the one whose bias gradient is lowest, each taking away its own
    1 / batch_size (after Wainakh et al. 2022, "User-level label leakage from gradients", algorithm 1).
    """
    labels = present_labels(seen).tolist()
    left = label_gradients(seen) if seen.output_layer is None or seen.output_layer.bias is None else _bias(seen)
    left = left.clone()
    for label in labels:
        left[label] += 1 / seen.batch_size
    while len(labels) < seen.batch_size:
        label = int(left.argmin())
        left[label] += 1 / seen.batch_size
        labels.append(label)
    return torch.tensor(sorted(labels), dtype=torch.int64)


def label_gradients(seen: GradientObservation) -> torch.Tensor:
    """What tells of each label's presence by being negative (classes,)."""
    layer = seen.output_layer
    if layer is None:
        raise FedprivError("Labels are read off a last layer that is linear, over classes.")
    parts = [] if layer.bias is None else [_bias(seen)[:, None]]
    if layer.inputs_are_nonnegative:
        parts.append(seen.gradient[layer.weight].double())
    if not parts:
        raise FedprivError("Labels are read off a last layer with bias, or after a ReLU.")
    return torch.cat(parts, dim=1).min(dim=1).values


def _bias(seen: GradientObservation) -> torch.Tensor:
    if seen.output_layer is None or seen.output_layer.bias is None:
        raise FedprivError("The last layer has no bias.")
    return seen.gradient[seen.output_layer.bias].double()
