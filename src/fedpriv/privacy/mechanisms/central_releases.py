"""What central mechanisms write down: one noisy sum over a sampled cohort a round."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from fedpriv.accounting.ledger import Part, ReleaseEntry
from fedpriv.accounting.sampled_gaussian import Composition
from fedpriv.streams import Streams

from ..sampling import CohortSampler


@final
@dataclass(frozen=True, kw_only=True)
class CentralReleases:
    """The ledger entries of one central mechanism, and what they will add up to.

    Args:
        mechanism: its name in the ledger.
        sensitivity: L2 norm of one client's addend.
        noise_multiplier: 0 means no noise and no claim.
        noise_std: of the noise on the sum, in the units of ``sensitivity``.
        streams: source of the cohort commitment's salt (``commitment``).
    """

    mechanism: str
    sampler: CohortSampler
    sensitivity: float
    noise_multiplier: float
    noise_std: float
    streams: Streams

    def entry(
        self, *, round_number: int, attempt: int, cohort: np.ndarray, parts: Sequence[Part]
    ) -> ReleaseEntry | None:
        """``parts``: where several vectors are released together; none for one."""
        if self.noise_multiplier == 0:
            return None
        law = self.sampler.law
        release = law.release(self.noise_multiplier)
        return ReleaseEntry(
            mechanism=self.mechanism,
            unit="client",
            round=round_number,
            attempt=attempt,
            noise_law="gaussian",
            sensitivity=self.sensitivity,
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
            parts=tuple(parts),
            budgets=self.sampler.budgets(round_number),
        )

    def planned(self, *, first_round: int, last_round: int) -> dict[int, Composition]:
        if self.noise_multiplier == 0:
            return {}
        law = self.sampler.law
        release = law.release(self.noise_std / self.sensitivity)  # the way the ledger derives it
        return {who: {release: times} for who, times in self._turns(first_round, last_round).items()}

    def _turns(self, first_round: int, last_round: int) -> Mapping[int, int]:
        """Participant -> how many of these rounds it may be drawn in."""
        if self.sampler.budgets(first_round) is None:
            return self.sampler.law.turns(first_round, last_round)
        rounds = range(first_round, last_round + 1)
        return Counter(who for number in rounds for who in self.sampler.budgets(number) or ())

    def _commitment(self, round_number: int, cohort: np.ndarray) -> str:
        salt = self.streams.rng("commitment", round_number).bytes(32)
        return hashlib.sha256(salt + cohort.astype("<i8").tobytes()).hexdigest()
