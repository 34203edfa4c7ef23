"""Central client-level DP: clip whole updates, sum, add noise on the server (McMahan et al. 2018, DP-FedAvg)."""

from dataclasses import dataclass

import numpy as np
import torch

from fedpriv.accounting.ledger import ReleaseEntry
from fedpriv.accounting.sampled_gaussian import Composition
from fedpriv.streams import Streams

from ..clipping import ClippingGrid
from ..encoded import EncodedUpdate, Gathered, Senders
from ..mechanism import OneRelease
from ..sampling import CohortSampler
from .central_releases import CentralReleases


@dataclass(frozen=True, kw_only=True)
class CentralGaussian(OneRelease):
    """Gaussian noise on the sum of clipped updates, over the public expected cohort.

    Neither weights, nor dropouts, nor who answered enter noise or denominator: every client counts once, and a
    client that fails or sends something non-finite adds zero.

    Args:
        grid: clips one update to ``clipping_norm`` and makes sums exact.
        sampler: draws the cohorts, and says what they may be accounted as.
        noise_multiplier: standard deviation of the noise on the sum / clipping norm; 0: no noise, no claim.
        streams: source of the noise (``noise``) and of the cohort commitment's salt (``commitment``).
    """

    grid: ClippingGrid
    sampler: CohortSampler
    noise_multiplier: float
    streams: Streams
    name: str = "central_gaussian"
    unit: str = "client"

    @property
    def noise_std(self) -> float:
        """Standard deviation of the noise on the sum, per coordinate."""
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
            rng = self.streams.rng("noise", gathered.round_number, gathered.attempt)
            noisy_sum += torch.from_numpy(rng.normal(scale=self.noise_std, size=noisy_sum.shape))
        return noisy_sum / self.sampler.law.cohort

    def entry(self, *, round_number: int, attempt: int, cohort: np.ndarray) -> ReleaseEntry | None:
        return self._releases.entry(round_number=round_number, attempt=attempt, cohort=cohort, parts=())

    def planned(
        self, participations: np.ndarray, *, first_round: int, last_round: int, attempt: int
    ) -> dict[int, Composition]:
        return self._releases.planned(first_round=first_round, last_round=last_round)

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
