"""Example-level DP: every client runs DP-SGD (Abadi et al. 2016, Algorithm 1) with noise of its own.

What leaves a client is already private, so the server may weigh and average as it likes. The federation's
epsilon is the maximum over clients: every example belongs to exactly one of them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from fedpriv.accounting.ledger import LAYER, ReleaseEntry
from fedpriv.accounting.release import Composition
from fedpriv.accounting.sampled_gaussian import SampledGaussian
from fedpriv.errors import ConfigError

from ..encoded import EncodedUpdate, Gathered, Senders
from ..mechanism import OneRelease
from .client_releases import ClientReleases
from .no_privacy import weigh, weighted_mean


@dataclass(frozen=True, kw_only=True)
class ExampleGaussian(OneRelease):
    """DP-SGD at the clients, with Poisson batches.

    Args:
        max_grad_norm: L2 bound of one example's gradient.
        layer_norms: layer -> L2 bound of its part of the gradient; none: clipped as a whole.
        rates: each client's chance of one example to be in one batch, min(1, batch size / client size).
        steps: each client's noisy steps in one participation.
        noise_multipliers: each client's; 0 everywhere means clipping without noise and no claim.
    """

    max_grad_norm: float
    layer_norms: Mapping[str, float]
    rates: np.ndarray
    steps: np.ndarray
    noise_multipliers: np.ndarray
    name: str = "example_dpsgd"
    unit: str = "example"

    def __post_init__(self) -> None:
        if self.layer_norms and math.hypot(*self.layer_norms.values()) > self.max_grad_norm * (1 + 1e-12):
            raise ConfigError(
                f"Layers clipped to {dict(self.layer_norms)} leave gradients longer than {self.max_grad_norm:g}."
            )

    def local_noise_multipliers(self, cohort: np.ndarray) -> np.ndarray:
        noise: np.ndarray = self.noise_multipliers[cohort]
        return noise

    def nothing(self, size: int) -> torch.Tensor:
        return torch.zeros(size, dtype=torch.float64)

    def encode(self, update: torch.Tensor, *, senders: Senders) -> EncodedUpdate:
        return weigh(update, senders.weights)

    def decode(self, gathered: Gathered) -> torch.Tensor:
        return weighted_mean(gathered)

    def entry(self, *, round_number: int, attempt: int, cohort: np.ndarray) -> ReleaseEntry | None:
        return self._releases.entry(round_number=round_number, attempt=attempt, cohort=cohort)

    def planned(
        self, participations: np.ndarray, *, first_round: int, last_round: int, attempt: int
    ) -> dict[int, Composition]:
        return self._releases.planned(participations)

    @cached_property
    def _releases(self) -> ClientReleases:
        return ClientReleases(
            mechanism=self.name,
            unit=self.unit,
            noise_law="gaussian",
            sampling="poisson",
            sensitivity=self.max_grad_norm,
            rates=self.rates,
            steps=self.steps,
            noise_multipliers=self.noise_multipliers,
            release=_batch,
            details=tuple(sorted((f"{LAYER}{layer}", norm) for layer, norm in self.layer_norms.items())),
        )


def _batch(noise_multiplier: float, rate: float) -> SampledGaussian:
    return SampledGaussian(noise_multiplier=noise_multiplier, sampling="poisson", rate=rate, population=0, cohort=0)
