"""Per-layer clipping of updates of any size: the first two numbers are a layer, and all others are one."""

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch

from fedpriv.accounting.ledger import ReleaseEntry
from fedpriv.accounting.release import Composition
from fedpriv.privacy import CohortSampler, EncodedUpdate, Gathered, OneRelease, Senders
from fedpriv.privacy.mechanisms import CentralPerLayer, LayerNorm
from fedpriv.streams import Streams

_FIRST = 2


@final
@dataclass(frozen=True, kw_only=True)
class TwoLayers(OneRelease):
    """``CentralPerLayer`` over whatever a script has for parameters, with equal norms.

    Args:
        clipping_norm: of a whole update.
    """

    clipping_norm: float
    summands: int
    sampler: CohortSampler
    noise_multiplier: float
    streams: Streams
    make: Any = CentralPerLayer
    name: str = "central_per_layer"
    unit: str = "client"

    def of(self, size: int) -> CentralPerLayer:
        """The mechanism for updates of ``size`` numbers."""
        norm = self.clipping_norm / math.sqrt(2)
        layers = [
            LayerNorm(name="first", size=min(_FIRST, size), clipping_norm=norm),
            LayerNorm(name="others", size=max(0, size - _FIRST), clipping_norm=norm),
        ]
        made: CentralPerLayer = self.make(
            layers=layers,
            summands=self.summands,
            sampler=self.sampler,
            noise_multiplier=self.noise_multiplier,
            streams=self.streams,
        )
        return made

    def local_noise_multipliers(self, cohort: np.ndarray) -> np.ndarray:
        return np.full(len(cohort), np.nan)

    def nothing(self, size: int) -> torch.Tensor:
        return self.of(size).nothing(size)

    def encode(self, update: torch.Tensor, *, senders: Senders) -> EncodedUpdate:
        return self.of(update.shape[1]).encode(update, senders=senders)

    def decode(self, gathered: Gathered) -> torch.Tensor:
        return self.of(len(gathered.total)).decode(gathered)

    def entry(self, *, round_number: int, attempt: int, cohort: np.ndarray) -> ReleaseEntry | None:
        return self.of(_FIRST).entry(round_number=round_number, attempt=attempt, cohort=cohort)

    def planned(
        self, participations: np.ndarray, *, first_round: int, last_round: int, attempt: int
    ) -> dict[int, Composition]:
        return self.of(_FIRST).planned(
            participations, first_round=first_round, last_round=last_round, attempt=attempt
        )
