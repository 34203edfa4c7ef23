"""Example-level DP: every client runs DP-SGD (Abadi et al. 2016, Algorithm 1) with noise of its own.

What leaves a client is already private, so the server may weigh and average as it likes. The federation's
epsilon is the maximum over clients: every example belongs to exactly one of them.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from fedpriv.accounting.client_table import COLUMNS, MOST_LISTED, ClientTable
from fedpriv.accounting.ledger import ReleaseEntry
from fedpriv.accounting.sampled_gaussian import Composition, SampledGaussian
from fedpriv.errors import FedprivError

from ..encoded import EncodedUpdate, Gathered, Senders
from ..mechanism import OneRelease
from .no_privacy import weigh, weighted_mean


@dataclass(frozen=True, kw_only=True)
class ExampleGaussian(OneRelease):
    """DP-SGD at the clients, with Poisson batches.

    Args:
        max_grad_norm: L2 bound of one example's gradient.
        rates: each client's chance of one example to be in one batch, min(1, batch size / client size).
        steps: each client's noisy steps in one participation.
        noise_multipliers: each client's; 0 everywhere means clipping without noise and no claim.
    """

    max_grad_norm: float
    rates: np.ndarray
    steps: np.ndarray
    noise_multipliers: np.ndarray
    name: str = "example_dpsgd"
    unit: str = "example"

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
        training = cohort[self.steps[cohort] > 0]
        if not self._noisy(training):
            return None
        return ReleaseEntry(
            mechanism=self.name,
            unit=self.unit,
            round=round_number,
            attempt=attempt,
            noise_law="gaussian",
            sensitivity=self.max_grad_norm,
            sampling="poisson",
            population=len(self.rates),
            cohort=len(cohort),
            **self._numbers(training),
            turn=None,
            group=None,
        )

    def _numbers(self, clients: np.ndarray) -> dict[str, Any]:
        """Each client's own, listed or, where there are many clients, as rows of a table."""
        if len(self.rates) > MOST_LISTED:
            return {**dict.fromkeys(COLUMNS), "clients": self._table.some(clients)}
        return {name: tuple(column.tolist()) for name, column in self._columns(clients).items()}

    @cached_property
    def _table(self) -> ClientTable:
        return ClientTable(**self._columns(np.flatnonzero((self.steps > 0) & (self.noise_multipliers > 0))))

    def _columns(self, clients: np.ndarray) -> dict[str, np.ndarray]:
        multipliers = self.noise_multipliers[clients]
        return {
            "clients": clients,
            "rate": self.rates[clients],
            "noise_multiplier": multipliers,
            "noise_std": multipliers * self.max_grad_norm,
            "steps": self.steps[clients],
        }

    def planned(
        self, participations: np.ndarray, *, first_round: int, last_round: int
    ) -> dict[int, Composition]:
        taking_part = np.flatnonzero(participations * self.steps)
        if not self._noisy(taking_part):
            return {}
        stds = self.noise_multipliers * self.max_grad_norm / self.max_grad_norm  # as the ledger derives it
        return {
            int(k): {
                SampledGaussian(
                    noise_multiplier=float(stds[k]),
                    sampling="poisson",
                    rate=float(self.rates[k]),
                    population=0,
                    cohort=0,
                ): int(self.steps[k] * participations[k])
            }
            for k in taking_part
        }

    def _noisy(self, clients: np.ndarray) -> bool:
        noisy = self.noise_multipliers[clients] > 0
        if noisy.any() and not noisy.all():
            raise FedprivError(
                f"No noise was planned for clients {clients[~noisy].tolist()}, but for others of their cohort. Nothing "
                "was released; please report this with the run's config.yaml."
            )
        return bool(noisy.any())
