"""Central client-level DP: clip whole updates, sum, add noise on the server (McMahan et al. 2018, DP-FedAvg)."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch

from fedpriv.accounting.ledger import ReleaseEntry
from fedpriv.accounting.sampled_gaussian import Composition
from fedpriv.streams import Streams

from ..clipping import ClippingGrid
from ..encoded import EncodedUpdate
from ..sampling import CohortSampler


@dataclass(frozen=True, kw_only=True)
class CentralGaussian:
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

    def encode(self, update: torch.Tensor, *, weight: torch.Tensor) -> EncodedUpdate:
        return self.grid.encode(update)

    def decode(
        self, total: torch.Tensor, *, total_weight: float, round_number: int, attempt: int
    ) -> torch.Tensor:
        noisy_sum = self.grid.decode(total)
        if self.noise_multiplier > 0:
            rng = self.streams.rng("noise", round_number, attempt)
            noisy_sum += torch.from_numpy(rng.normal(scale=self.noise_std, size=total.shape))
        return noisy_sum / self.sampler.law.cohort

    def entry(self, *, round_number: int, attempt: int, cohort: np.ndarray) -> ReleaseEntry | None:
        if self.noise_multiplier == 0:
            return None
        law = self.sampler.law
        release = law.release(self.noise_multiplier)
        return ReleaseEntry(
            mechanism=self.name,
            unit=self.unit,
            round=round_number,
            attempt=attempt,
            noise_law="gaussian",
            sensitivity=self.grid.clipping_norm,
            sampling=law.kind,
            population=law.population,
            cohort=release.cohort,
            clients=self._commitment(round_number, cohort),
            rate=release.rate,
            noise_multiplier=self.noise_multiplier,
            noise_std=self.noise_std,
            steps=1,
            turn=None if law.separation == 1 else (law.turn(round_number), law.separation),
            group=None,
        )

    def planned(
        self, participations: np.ndarray, *, first_round: int, last_round: int
    ) -> dict[int, Composition]:
        if self.noise_multiplier == 0:
            return {}
        # std / sensitivity, the way the ledger derives it
        release = self.sampler.law.release(self.noise_std / self.grid.clipping_norm)
        return {who: {release: times} for who, times in self.sampler.law.turns(first_round, last_round).items()}

    def _commitment(self, round_number: int, cohort: np.ndarray) -> str:
        salt = self.streams.rng("commitment", round_number).bytes(32)
        return hashlib.sha256(salt + cohort.astype("<i8").tobytes()).hexdigest()
