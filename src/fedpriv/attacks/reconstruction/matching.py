"""Gradients that a guessed batch would have given, as a differentiable function of the guess."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from .interface import Clip, GradientObservation


@dataclass(frozen=True, kw_only=True, eq=False)
class Matcher:
    """The client's step simulated: cross-entropy, mean over the batch, clipped as the client clips.

    Args:
        model: with the parameters that the client started from, float64.
    """

    seen: GradientObservation
    model: nn.Module

    @property
    def target(self) -> torch.Tensor:
        """What was observed, (d,)."""
        return torch.cat([self.seen.gradient[name].double().reshape(-1) for name in self._names])

    def gradient(self, x: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Of the batch ``x`` (n, *input_shape) with ``targets`` (probabilities, (n, classes)); (d,), with a graph."""
        if self.seen.example_clip is None or len(x) == 1:
            mean = _shortened(self._of(x, targets), self.seen.example_clip)
        else:
            single = [self._of(x[i : i + 1], targets[i : i + 1]) for i in range(len(x))]
            mean = torch.stack([_shortened(one, self.seen.example_clip) for one in single]).mean(dim=0)
        return _shortened(mean, self.seen.client_clip)

    def _of(self, x: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        log_probabilities = functional.log_softmax(self.model(x), dim=1)
        loss = -(targets * log_probabilities).sum(dim=1).mean()
        named = dict(self.model.named_parameters())
        parts = torch.autograd.grad(loss, [named[name] for name in self._names], create_graph=True)
        return torch.cat([part.reshape(-1) for part in parts])

    @property
    def _names(self) -> list[str]:
        return list(self.seen.gradient)


def _shortened(vector: torch.Tensor, clip: Clip | None) -> torch.Tensor:
    if clip is None:
        return vector
    norm: torch.Tensor = torch.linalg.vector_norm(vector, ord=clip.order)
    return vector * (clip.norm / norm).clamp(max=1.0)
