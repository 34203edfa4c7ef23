"""Both units at once: example-level DP-SGD at the clients, under client-level noise on the server.

Whoever sees a client's update (the server included) is bound by the first, whoever sees the global models by both. Each
half is accounted by itself: clipping whole updates is post-processing of what DP-SGD released, and what a client's
local noise does to its update changes nothing about the norm that it is clipped to.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch

from fedpriv.accounting.ledger import ReleaseEntry
from fedpriv.accounting.release import Composition

from ..encoded import EncodedUpdate, Gathered, Senders, State
from .central import CentralGaussian
from .example import ExampleGaussian


@final
@dataclass(frozen=True, kw_only=True)
class BothUnits:
    """``example`` adds noise to local steps, ``client`` clips what comes of them and adds noise to the sum.

    The local noise must not depend on coins of cohorts that are yet to be drawn: a client-level proof allows a client's
    update to depend on the past only.
    """

    client: CentralGaussian
    example: ExampleGaussian
    name: str = "both_units"
    unit: str = "client"

    @property
    def halves(self) -> tuple[CentralGaussian, ExampleGaussian]:
        return self.client, self.example

    def initial_state(self) -> State:
        return {}

    def told(self, *, round_number: int, attempt: int, cohort: np.ndarray, state: State) -> State:
        return {}

    def local_noise_multipliers(self, cohort: np.ndarray) -> np.ndarray:
        return self.example.local_noise_multipliers(cohort)

    def nothing(self, size: int) -> torch.Tensor:
        return self.client.nothing(size)

    def encode(self, update: torch.Tensor, *, senders: Senders) -> EncodedUpdate:
        return self.client.encode(update, senders=senders)

    def decode(self, gathered: Gathered) -> torch.Tensor:
        return self.client.decode(gathered)

    def next_state(self, gathered: Gathered) -> State:
        return {}

    def entries(
        self, *, round_number: int, attempt: int, cohort: np.ndarray, state: State
    ) -> Sequence[ReleaseEntry]:
        both = (half.entry(round_number=round_number, attempt=attempt, cohort=cohort) for half in self.halves)
        return tuple(entry for entry in both if entry is not None)

    def planned(
        self, participations: np.ndarray, *, first_round: int, last_round: int, attempt: int
    ) -> dict[int, Composition]:
        return self.client.planned(
            participations, first_round=first_round, last_round=last_round, attempt=attempt
        )
