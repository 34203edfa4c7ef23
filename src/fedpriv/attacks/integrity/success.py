"""How well tampering worked: the model's answers to what attackers show it, and to ordinary examples."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from fedpriv.training.measure import answers

from .tampering import Facts, Tampering

Batches = Iterable[tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Of one model.

    Attributes:
        success: share of ``shown`` test examples that are classified as the attackers want; None: there are none.
        shown: how many.
    """

    success: float | None
    shown: int


def outcome(model: nn.Module, batches: Batches, *, tampering: Tampering, facts: Facts, device: torch.device) -> Outcome:
    """What the attackers have of this model; nothing about it changes.

    Args:
        batches: of test examples and labels.
    """
    found = answers(model, _shown(batches, tampering, facts), device=device)
    if found is None:
        return Outcome(success=None, shown=0)
    outputs, labels = found
    hits = tampering.hit(outputs.argmax(dim=1), labels)
    return Outcome(success=float(hits.double().mean()), shown=len(labels))


def _shown(batches: Batches, tampering: Tampering, facts: Facts) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for x, y in batches:
        shown = tampering.shown(x, y, facts=facts)
        if len(shown[1]):
            yield shown
