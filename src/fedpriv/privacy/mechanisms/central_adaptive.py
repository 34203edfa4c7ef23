"""Central client-level DP whose clipping norm follows a quantile of the updates' norms.

Andrew, Thakkar, McMahan & Ramaswamy 2021, "Differentially private learning with adaptive clipping", Algorithm 1: beside
its clipped update a client sends whether it was left unclipped, and the noise is split between the two sums.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch

from fedpriv.accounting.ledger import Part, ReleaseEntry
from fedpriv.accounting.sampled_gaussian import Composition
from fedpriv.errors import ConfigError
from fedpriv.streams import Streams

from ..clipping import ClippingGrid
from ..encoded import EncodedUpdate, Gathered, Senders, State
from ..sampling import CohortSampler
from .central_releases import CentralReleases

_LEAST, _MOST = 1e-12, 1e12  # that noisy counts may drive the norm to
_ONE_BIT = 0.5  # sensitivity of the sum of b - 1/2, where b says that a client was left unclipped
COUNT = "unclipped count"
"""Name of its second part in the ledger."""
_COUNT = 1  # position of the count's noise, next to that of the update's


@final
@dataclass(frozen=True, kw_only=True)
class CentralAdaptive:
    """As ``CentralGaussian``, with the norm ``C`` of each round made from the rounds before.

    ``C <- C exp(-clipping_lr (b - target_quantile))``, where b is the noisy share of updates left unclipped. Both sums
    together are one Gaussian release of ``noise_multiplier``.

    Args:
        initial_norm: C of the first round.
        summands: most clients that one sum may hold.
        target_quantile: share of updates to be left unclipped, in (0, 1).
        clipping_lr: eta_C of the paper.
        count_noise_std: sigma_b of the paper; must exceed ``noise_multiplier / 2``.
        noise_multiplier: of both releases together; 0: no noise, no claim.
        streams: source of both noises (``noise``) and of the cohort commitment's salt (``commitment``).
    """

    initial_norm: float
    summands: int
    target_quantile: float
    clipping_lr: float
    count_noise_std: float
    sampler: CohortSampler
    noise_multiplier: float
    streams: Streams
    name: str = "central_adaptive"
    unit: str = "client"

    def __post_init__(self) -> None:
        if self.noise_multiplier >= self.count_noise_std / _ONE_BIT:
            raise ConfigError(
                f"A count with noise of standard deviation {self.count_noise_std:g} gives away more than a noise "
                f"multiplier of {self.noise_multiplier:g} allows, before any update: use a larger privacy.count_noise."
            )

    @property
    def update_multiplier(self) -> float:
        """Of the update's noise alone, z_Delta of the paper (Theorem 1): above the joint one."""
        if self.noise_multiplier == 0:
            return 0.0
        joint, count = self.noise_multiplier, self.count_noise_std / _ONE_BIT
        return 1 / math.sqrt(joint**-2 - count**-2)

    @property
    def halves(self) -> "Sequence[CentralAdaptive]":
        return (self,)

    def initial_state(self) -> State:
        return _state(self.initial_norm)

    def told(self, *, round_number: int, attempt: int, cohort: np.ndarray, state: State) -> State:
        return state

    def local_noise_multipliers(self, cohort: np.ndarray) -> np.ndarray:
        return np.full(len(cohort), np.nan)

    def nothing(self, size: int) -> torch.Tensor:
        return torch.zeros(size + 1, dtype=torch.int64)

    def encode(self, update: torch.Tensor, *, senders: Senders) -> EncodedUpdate:
        """The clipped update on the grid and, behind it, 2 b - 1: +1 where it was left unclipped, else -1."""
        encoded = self._grid(senders.told).encode(update)
        bits = 1 - 2 * encoded.clipped.to(torch.int64)
        return EncodedUpdate(
            values=torch.cat([encoded.values, bits[:, None]], dim=1), norm=encoded.norm, clipped=encoded.clipped
        )

    def decode(self, gathered: Gathered) -> torch.Tensor:
        noisy_sum = self._grid(gathered.state).decode(gathered.total[:-1])
        if self.noise_multiplier > 0:
            rng = self.streams.rng("noise", gathered.round_number, gathered.attempt)
            noisy_sum += torch.from_numpy(rng.normal(scale=self._noise_std(gathered.state), size=noisy_sum.shape))
        return noisy_sum / self.sampler.expected(gathered.round_number)

    def next_state(self, gathered: Gathered) -> State:
        count = float(gathered.total[-1]) * _ONE_BIT
        if self.noise_multiplier > 0:
            rng = self.streams.rng("noise", gathered.round_number, gathered.attempt, _COUNT)
            count += rng.normal(scale=self.count_noise_std)
        unclipped = count / self.sampler.expected(gathered.round_number) + _ONE_BIT
        exponent = -self.clipping_lr * (unclipped - self.target_quantile)
        log_norm = math.log(_norm(gathered.state)) + exponent
        return _state(math.exp(min(max(log_norm, math.log(_LEAST)), math.log(_MOST))))

    def entries(
        self, *, round_number: int, attempt: int, cohort: np.ndarray, state: State
    ) -> Sequence[ReleaseEntry]:
        parts = (
            Part(name="update", sensitivity=_norm(state), noise_std=self._noise_std(state)),
            Part(name=COUNT, sensitivity=_ONE_BIT, noise_std=self.count_noise_std),
        )
        entry = self._releases.entry(round_number=round_number, attempt=attempt, cohort=cohort, parts=parts)
        return () if entry is None else (entry,)

    def planned(
        self, participations: np.ndarray, *, first_round: int, last_round: int, attempt: int
    ) -> dict[int, Composition]:
        return self._releases.planned(first_round=first_round, last_round=last_round)

    def _grid(self, told: State) -> ClippingGrid:
        return ClippingGrid(clipping_norm=_norm(told), summands=self.summands)

    def _noise_std(self, state: State) -> float:
        return self.update_multiplier * _norm(state)

    @property
    def _releases(self) -> CentralReleases:
        return CentralReleases(
            mechanism=self.name,
            sampler=self.sampler,
            sensitivity=1.0,
            noise_multiplier=self.noise_multiplier,
            noise_std=self.noise_multiplier,
            streams=self.streams,
        )


def _state(norm: float) -> State:
    return {"clipping_norm": torch.tensor(norm, dtype=torch.float64)}


def _norm(state: State) -> float:
    return float(state["clipping_norm"])
