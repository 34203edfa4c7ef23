"""What a privacy mechanism is: a client half, a server half, and ledger entries from the same numbers."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch

from fedpriv.accounting.ledger import ReleaseEntry
from fedpriv.accounting.sampled_gaussian import Composition

from .encoded import EncodedUpdate, Gathered, Senders, State


class Mechanism(Protocol):
    """Protects one unit or two, and is the only writer of ledger entries.

    Attributes:
        name: as in the ledger.
        unit: ``example``, ``client``, or None where nothing is protected; of two, that of the headline.
    """

    @property
    def name(self) -> str: ...

    @property
    def unit(self) -> str | None: ...

    @property
    def halves(self) -> "Sequence[Mechanism]":
        """A mechanism for each unit that is protected, the headline's first; itself where that is one or none."""
        ...

    def initial_state(self) -> State:
        """What a later round depends on, before the first; checkpointed, and public: no data may be in it."""
        ...

    def told(self, *, round_number: int, attempt: int, cohort: np.ndarray, state: State) -> State:
        """What every client of the cohort is told with the round."""
        ...

    def local_noise_multipliers(self, cohort: np.ndarray) -> np.ndarray:
        """Of the noise that each client adds, to its local steps or its report (float64, aligned with ``cohort``).

        NaN for none.
        """
        ...

    def nothing(self, size: int) -> torch.Tensor:
        """What a client adds that sends nothing of its update of ``size`` numbers, shape (e,)."""
        ...

    def encode(self, update: torch.Tensor, *, senders: Senders) -> EncodedUpdate:
        """Client half: constrain and encode updates, (n, d), each by itself."""
        ...

    def decode(self, gathered: Gathered) -> torch.Tensor | None:
        """Server half: the mean update (float64, shape (d,)) from the sum of encoded ones, private by now.

        None: so few answered that the round is aborted, and nothing of it is released.
        """
        ...

    def next_state(self, gathered: Gathered) -> State:
        """The state after the round."""
        ...

    def entries(
        self, *, round_number: int, attempt: int, cohort: np.ndarray, state: State
    ) -> Sequence[ReleaseEntry]:
        """What this round will release, before anything is sent; nothing where nothing can be claimed."""
        ...

    def planned(
        self, participations: np.ndarray, *, first_round: int, last_round: int, attempt: int
    ) -> dict[int, Composition]:
        """What these rounds release about each participant, given each client's participations in them."""
        ...


class OneRelease(ABC):
    """The parts of a mechanism that releases at most once a round and keeps nothing between rounds."""

    @property
    def halves(self) -> Sequence[Any]:
        return (self,)

    def initial_state(self) -> State:
        return {}

    def told(self, *, round_number: int, attempt: int, cohort: np.ndarray, state: State) -> State:
        return {}

    def next_state(self, gathered: Gathered) -> State:
        return {}

    def entries(
        self, *, round_number: int, attempt: int, cohort: np.ndarray, state: State
    ) -> Sequence[ReleaseEntry]:
        entry = self.entry(round_number=round_number, attempt=attempt, cohort=cohort)
        return () if entry is None else (entry,)

    @abstractmethod
    def entry(self, *, round_number: int, attempt: int, cohort: np.ndarray) -> ReleaseEntry | None:
        """The round's one entry; None where nothing can be claimed."""
