"""One choice of ``privacy`` over an experiment: how its noise is found, and what mechanism is made with it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from fedpriv.accounting.budget import Accounting
from fedpriv.accounting.client_budgets import ClientBudget
from fedpriv.accounting.release import Accountant, Relation
from fedpriv.config import Config
from fedpriv.data import FederatedData
from fedpriv.errors import ConfigError
from fedpriv.models import ParameterLayout
from fedpriv.privacy import CohortSampler, Mechanism
from fedpriv.privacy.sampling import participations
from fedpriv.streams import Streams


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a choice sees of an experiment.

    Attributes:
        sampler: as planned; nothing that depends on a key is drawn from it.
        participation_cap: rounds that a client may take part in at most; None for no such cap.
        layout: of the updates.
        client_budgets: of clients that allow less than others; none where all allow the same.
        noise_knows_schedule: whether a client's noise may depend on the cohorts that are yet to be drawn.
    """

    config: Config
    data: FederatedData
    sampler: CohortSampler
    participation_cap: int | None
    layout: ParameterLayout
    noise_knows_schedule: bool
    client_budgets: tuple[ClientBudget, ...]

    @property
    def num_clients(self) -> int:
        """Clients that may be trained."""
        return len(self.data.population_ids)

    def targets(self, epsilon: float) -> Iterator[tuple[float, np.ndarray]]:
        """What noise is calibrated to: (epsilon, clients that allow it (int64)), by default ``epsilon``."""
        if not self.client_budgets:
            yield epsilon, np.arange(self.data.num_clients)
        for budget in self.client_budgets:
            yield epsilon if budget.epsilon is None else budget.epsilon, budget.ids

    def participations(self) -> np.ndarray:
        """Of each client, what its noise is calibrated to (int64, shape (num_clients,), by client id).

        As scheduled or, where noise must not know the schedule, the most that are allowed.

        Raises:
            ConfigError: nothing says how many those are.
        """
        if self.noise_knows_schedule:
            return participations(
                self.sampler, first_round=1, last_round=self.config.rounds, population=self.data.num_clients
            )
        if self.participation_cap is None:
            raise ConfigError("privacy=both_units needs a cap on every client's participations.")
        return np.full(self.data.num_clients, self.participation_cap)


class Choice(Protocol):
    """What PrivacyTerms asks of a choice."""

    @property
    def setting(self) -> Setting: ...

    @property
    def num_multipliers(self) -> int:
        """Of how many noise multipliers it is made: 1, or one for every client."""
        ...

    @property
    def noisy_steps_per_round(self) -> Mapping[str, int]:
        """Noisy sums that a client takes part in in one round, ``min`` and ``max`` over clients."""
        ...

    def accounting(
        self, *, delta: float, relation: Relation | Literal["auto"], accountant: Accountant | Literal["auto"]
    ) -> Accounting:
        """Who judges its releases; ``auto`` is the closest valid accountant and its natural relation.

        Raises:
            ConfigError: no valid bound is known for the combination.
        """
        ...

    def calibrated(self, target_epsilon: float, accounting: Accounting) -> np.ndarray:
        """The smallest noise multipliers that meet a target, shape (num_multipliers,)."""
        ...

    def mechanism(self, noise_multipliers: np.ndarray, streams: Streams, sampler: CohortSampler) -> Mechanism:
        """The mechanism, with the noise that the plan found, drawn from ``streams``, over cohorts of ``sampler``."""
        ...


def given(value: float | None) -> float:
    """``value``, which the config layer has seen to."""
    if value is None:
        raise ConfigError("A number that this mechanism needs is missing.")
    return value
