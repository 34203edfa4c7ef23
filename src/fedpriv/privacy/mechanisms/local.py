"""Local client-level DP: every client adds noise to its own clipped update, and trusts nobody with it.

Gaussian (calibrated analytically: Balle & Wang 2018) or Laplace (Dwork et al. 2006) on every coordinate of a report.
Each client pays for the rounds in which it reports; that it reports is seen by the server, so nothing is amplified.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import final

import numpy as np
import torch

from fedpriv.accounting.claims import CLAIMS
from fedpriv.accounting.laplace import LaplaceReport
from fedpriv.accounting.ledger import ReleaseEntry
from fedpriv.accounting.release import Composition, Release
from fedpriv.accounting.sampled_gaussian import SampledGaussian
from fedpriv.streams import Streams

from ..clipping import ClippingGrid, clipped_in_l1
from ..encoded import EncodedUpdate, Gathered, Senders
from ..mechanism import OneRelease
from .client_releases import ClientReleases
from .no_privacy import weigh, weighted_mean


@dataclass(frozen=True, kw_only=True)
class _LocalReports(OneRelease, ABC):
    """Noisy reports, which the server may weigh and average as it likes.

    A client whose update is not finite reports noise alone.

    Args:
        clipping_norm: of one client's update; L2 for Gaussian, L1 for Laplace noise.
        noise_multipliers: of each client, standard deviation of one coordinate's noise / clipping norm; 0 everywhere:
            no noise, no claim.
        streams: source of each client's noise (``noise``), by round, client and attempt.
    """

    clipping_norm: float
    noise_multipliers: np.ndarray
    streams: Streams
    name: str
    unit: str = "client"

    def local_noise_multipliers(self, cohort: np.ndarray) -> np.ndarray:
        noise: np.ndarray = self.noise_multipliers[cohort]
        return noise

    def nothing(self, size: int) -> torch.Tensor:
        return torch.zeros(size, dtype=torch.float64)

    def encode(self, update: torch.Tensor, *, senders: Senders) -> EncodedUpdate:
        clipped = self.clip(update)
        reports = clipped.values
        stds = senders.noise_multipliers * self.clipping_norm
        for row, client, std in zip(reports, senders.clients.tolist(), stds.tolist(), strict=True):
            if std != 0:
                rng = self.streams.rng("noise", senders.round_number, client, senders.attempt)
                row += torch.from_numpy(self.noise(rng, std=std, size=len(row)))
        values = weigh(reports, senders.weights).values
        return EncodedUpdate(values=values, norm=clipped.norm, clipped=clipped.clipped)

    def decode(self, gathered: Gathered) -> torch.Tensor:
        return weighted_mean(gathered)

    def entry(self, *, round_number: int, attempt: int, cohort: np.ndarray) -> ReleaseEntry | None:
        return self._releases.entry(round_number=round_number, attempt=attempt, cohort=cohort)

    def planned(
        self, participations: np.ndarray, *, first_round: int, last_round: int, attempt: int
    ) -> dict[int, Composition]:
        return self._releases.planned(participations)

    @abstractmethod
    def clip(self, update: torch.Tensor) -> EncodedUpdate:
        """Updates (n, d) clipped, in float64."""

    @staticmethod
    @abstractmethod
    def noise(rng: np.random.Generator, *, std: float, size: int) -> np.ndarray:
        """Independent, of this standard deviation, shape (size,)."""

    @staticmethod
    @abstractmethod
    def report(noise_multiplier: float, rate: float) -> Release:
        """One report, as an accountant sees it."""

    @cached_property
    def _releases(self) -> ClientReleases:
        everybody = np.ones(len(self.noise_multipliers))
        return ClientReleases(
            mechanism=self.name,
            unit=self.unit,
            noise_law=CLAIMS[self.name].noise_law,
            sampling="all",
            sensitivity=self.clipping_norm,
            rates=everybody,
            steps=everybody.astype(np.int64),
            noise_multipliers=self.noise_multipliers,
            release=self.report,
            details=(),
        )


@final
@dataclass(frozen=True, kw_only=True)
class LocalGaussian(_LocalReports):
    """Reports clipped in L2 norm, with Gaussian noise."""

    name: str = "local_gaussian"

    def clip(self, update: torch.Tensor) -> EncodedUpdate:
        grid = ClippingGrid(clipping_norm=self.clipping_norm, summands=1)
        encoded = grid.encode(update)
        return replace(encoded, values=grid.decode(encoded.values))

    @staticmethod
    def noise(rng: np.random.Generator, *, std: float, size: int) -> np.ndarray:
        return rng.normal(scale=std, size=size)

    @staticmethod
    def report(noise_multiplier: float, rate: float) -> Release:
        return SampledGaussian(
            noise_multiplier=noise_multiplier, sampling="all", rate=rate, population=0, cohort=0
        )


@final
@dataclass(frozen=True, kw_only=True)
class LocalLaplace(_LocalReports):
    """Reports clipped in L1 norm, with Laplace noise of scale b: pure (clipping_norm / b)-DP under zero-out."""

    name: str = "local_laplace"

    def clip(self, update: torch.Tensor) -> EncodedUpdate:
        return clipped_in_l1(update, norm=self.clipping_norm)

    @staticmethod
    def noise(rng: np.random.Generator, *, std: float, size: int) -> np.ndarray:
        return rng.laplace(scale=std / math.sqrt(2), size=size)

    @staticmethod
    def report(noise_multiplier: float, rate: float) -> Release:
        return LaplaceReport(noise_multiplier=noise_multiplier, rate=rate)
