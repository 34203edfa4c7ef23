"""What a privacy mechanism is: a client half, a server half, and ledger entries from the same numbers."""

from typing import Protocol

import numpy as np
import torch

from fedpriv.accounting.ledger import ReleaseEntry
from fedpriv.accounting.sampled_gaussian import Composition

from .encoded import EncodedUpdate


class Mechanism(Protocol):
    """Protects one unit, and is the only writer of ledger entries.

    Attributes:
        name: as in the ledger.
        unit: ``example``, ``client``, or None where nothing is protected.
    """

    @property
    def name(self) -> str: ...

    @property
    def unit(self) -> str | None: ...

    def local_noise_multipliers(self, cohort: np.ndarray) -> np.ndarray:
        """Noise multiplier of each client's local steps (float64, aligned with ``cohort``); NaN: not private."""
        ...

    def encode(self, update: torch.Tensor, *, weight: torch.Tensor) -> EncodedUpdate:
        """Client half: constrain and encode updates, each by itself: (n, d) with a weight each, or (d,) with one."""
        ...

    def decode(
        self, total: torch.Tensor, *, total_weight: float, round_number: int, attempt: int
    ) -> torch.Tensor:
        """Server half: the noisy mean update (float64, shape (d,)) from the sum of encoded ones."""
        ...

    def entry(self, *, round_number: int, attempt: int, cohort: np.ndarray) -> ReleaseEntry | None:
        """What this round will release, before anything is sent; None where nothing can be claimed."""
        ...

    def planned(
        self, participations: np.ndarray, *, first_round: int, last_round: int
    ) -> dict[int, Composition]:
        """What these rounds release about each participant, given each client's participations in them."""
        ...
