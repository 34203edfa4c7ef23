"""What mechanisms write down whose noise the clients add: every client's own numbers."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np

from fedpriv.accounting.client_table import COLUMNS, MOST_LISTED, ClientTable
from fedpriv.accounting.ledger import ReleaseEntry
from fedpriv.accounting.release import Composition, Release
from fedpriv.errors import FedprivError


@final
@dataclass(frozen=True, kw_only=True)
class ClientReleases:
    """The ledger entries of one such mechanism, and what they will add up to.

    Args:
        mechanism: its name in the ledger.
        sampling: of units into each noisy sum, given that their client takes part.
        sensitivity: norm that one unit's addend is clipped to.
        rates: each client's chance of one unit to be in one of its noisy sums.
        steps: each client's noisy sums in one participation.
        noise_multipliers: each client's; 0 everywhere means no noise and no claim.
        release: noise multiplier and rate -> one noisy sum, as an accountant sees it.
        details: of the noise law, in order of the names.
    """

    mechanism: str
    unit: str
    noise_law: str
    sampling: str
    sensitivity: float
    rates: np.ndarray
    steps: np.ndarray
    noise_multipliers: np.ndarray
    release: Callable[[float, float], Release]
    details: tuple[tuple[str, float], ...]

    def entry(self, *, round_number: int, attempt: int, cohort: np.ndarray) -> ReleaseEntry | None:
        training = cohort[self.steps[cohort] > 0]
        if not self._noisy(training):
            return None
        return ReleaseEntry(
            mechanism=self.mechanism,
            unit=self.unit,
            round=round_number,
            attempt=attempt,
            noise_law=self.noise_law,
            sensitivity=self.sensitivity,
            sampling=self.sampling,
            population=len(self.rates),
            cohort=len(cohort),
            **self._numbers(training),
            turn=None,
            group=None,
            details=self.details,
        )

    def planned(self, participations: np.ndarray) -> dict[int, Composition]:
        taking_part = np.flatnonzero(participations * self.steps)
        if not self._noisy(taking_part):
            return {}
        stds = self.noise_multipliers * self.sensitivity / self.sensitivity  # as the ledger derives it
        return {
            int(k): {self.release(float(stds[k]), float(self.rates[k])): int(self.steps[k] * participations[k])}
            for k in taking_part
        }

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
            "noise_std": multipliers * self.sensitivity,
            "steps": self.steps[clients],
        }

    def _noisy(self, clients: np.ndarray) -> bool:
        noisy = self.noise_multipliers[clients] > 0
        if noisy.any() and not noisy.all():
            raise FedprivError(
                f"No noise was planned for clients {clients[~noisy].tolist()}, but for others of their cohort. Nothing "
                "was released; please report this with the run's config.yaml."
            )
        return bool(noisy.any())
