"""Central client-level DP: clip whole updates, sum, add noise on the server (McMahan et al. 2018, DP-FedAvg)."""

from dataclasses import dataclass
from typing import final

import numpy as np

from fedpriv.accounting.ledger import ReleaseEntry
from fedpriv.accounting.release import Composition

from .central_sum import CentralSum


@final
@dataclass(frozen=True, kw_only=True)
class CentralGaussian(CentralSum):
    """Independent Gaussian noise on every round's sum."""

    name: str = "central_gaussian"

    def noise(self, *, round_number: int, attempt: int, size: int) -> np.ndarray:
        return self.streams.rng("noise", round_number, attempt).normal(scale=self.noise_std, size=size)

    def entry(self, *, round_number: int, attempt: int, cohort: np.ndarray) -> ReleaseEntry | None:
        return self._releases.entry(round_number=round_number, attempt=attempt, cohort=cohort, parts=())

    def planned(
        self, participations: np.ndarray, *, first_round: int, last_round: int, attempt: int
    ) -> dict[int, Composition]:
        return self._releases.planned(first_round=first_round, last_round=last_round)
