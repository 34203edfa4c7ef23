"""The noise of private local steps: every client's own, step after step, from its own generator."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from ..example_groups import ExampleGroups
from .batch import Examples


@dataclass(frozen=True, kw_only=True)
class DpSgd:
    """What makes local steps private (Abadi et al. 2016, Algorithm 1).

    Args:
        max_grad_norm: L2 bound of one example's gradient.
        layer_norms: layer -> L2 bound of its part, together at most ``max_grad_norm``; none: clipped as a whole.
        expected_size: of a batch, by the client's number of examples: the public divisor of a noisy sum.
        groups: of examples, where the data names any; norms of theirs only lower the bound.
    """

    max_grad_norm: float
    layer_norms: Mapping[str, float]
    expected_size: Callable[[int], float]
    groups: ExampleGroups | None = None


class StackNoise:
    """Turns sums of clipped gradients into noisy means, in place.

    Args:
        like: (K, D), as the gradients will be.
    """

    def __init__(self, clients: Sequence[Examples], private: DpSgd, *, like: torch.Tensor) -> None:
        self._stds = [client.work.noise_multiplier * private.max_grad_norm for client in clients]
        self._steps = [len(client.plan) for client in clients]
        self._generators = [client.work.noise() for client in clients]
        # a client without examples takes no step, and has no divisor
        sizes = [private.expected_size(client.size) or 1.0 for client in clients]
        self._divisors = torch.tensor(sizes, dtype=like.dtype, device=like.device)[:, None]
        self._drawn = torch.empty_like(like[0])

    def add(self, gradient: torch.Tensor, *, step: int) -> None:
        """Noise for the clients that take this step; then every sum is divided by its expected batch."""
        for k, (std, steps, generator) in enumerate(zip(self._stds, self._steps, self._generators, strict=True)):
            if step < steps and std != 0:
                gradient[k] += self._drawn.normal_(0.0, std, generator=generator)
        gradient /= self._divisors
