"""What central mechanisms of one clipping norm share: an exact sum of clipped updates, and the server's noise on it."""

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
import torch

from fedpriv.streams import Streams

from ..clipping import ClippingGrid
from ..encoded import EncodedUpdate, Gathered, Senders
from ..mechanism import OneRelease
from ..sampling import CohortSampler
from .central_releases import CentralReleases


@dataclass(frozen=True, kw_only=True)
class CentralSum(OneRelease):
    """The noisy sum of clipped updates, over the public expected cohort.

    Neither weights, nor dropouts, nor who answered enter noise or denominator: every client counts once, and a
    client that fails or sends something non-finite adds zero.

    Args:
        grid: clips one update to ``clipping_norm`` and makes sums exact.
        sampler: draws the cohorts, and says what they may be accounted as.
        noise_multiplier: standard deviation of the noise / clipping norm; 0: no noise, no claim.
        streams: source of the noise (``noise``) and of the cohort commitment's salt (``commitment``).
    """

    grid: ClippingGrid
    sampler: CohortSampler
    noise_multiplier: float
    streams: Streams
    name: str
    unit: str = "client"

    @abstractmethod
    def noise(self, *, round_number: int, attempt: int, size: int) -> np.ndarray:
        """That of one round's sum, float64 of shape (size,)."""

    @property
    def noise_std(self) -> float:
        """Standard deviation of the noise, per coordinate."""
        return self.noise_multiplier * self.grid.clipping_norm

    def local_noise_multipliers(self, cohort: np.ndarray) -> np.ndarray:
        return np.full(len(cohort), np.nan)

    def nothing(self, size: int) -> torch.Tensor:
        return torch.zeros(size, dtype=torch.int64)

    def encode(self, update: torch.Tensor, *, senders: Senders) -> EncodedUpdate:
        return self.grid.encode(update)

    def decode(self, gathered: Gathered) -> torch.Tensor:
        noisy_sum = self.grid.decode(gathered.total)
        if self.noise_multiplier > 0:
            noise = self.noise(
                round_number=gathered.round_number, attempt=gathered.attempt, size=len(noisy_sum)
            )
            noisy_sum += torch.from_numpy(noise)
        return noisy_sum / self.sampler.expected(gathered.round_number)

    @property
    def _releases(self) -> CentralReleases:
        return CentralReleases(
            mechanism=self.name,
            sampler=self.sampler,
            sensitivity=self.grid.clipping_norm,
            noise_multiplier=self.noise_multiplier,
            noise_std=self.noise_std,
            streams=self.streams,
        )
