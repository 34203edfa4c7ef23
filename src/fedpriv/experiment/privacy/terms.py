"""What an experiment protects, by which mechanism, at which price, and what may be said of it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np

from fedpriv.accounting.budget import Accounting
from fedpriv.accounting.claims import protected_units
from fedpriv.accounting.conventions import choose_delta
from fedpriv.accounting.guarantee import Guarantee, state_guarantee
from fedpriv.accounting.ledger import ReleaseEntry
from fedpriv.accounting.terms import Terms
from fedpriv.config import Config
from fedpriv.data import FederatedData
from fedpriv.privacy import CohortSampler, Mechanism
from fedpriv.streams import Streams

from .central import CentralByLayer, CentralFixed, CentralFollowing
from .choice import Choice, Setting
from .example import ExampleLevel
from .in_words import in_words
from .local import LocalGaussianReports, LocalLaplaceReports
from .none import Nothing

_CHOICES: Mapping[str, type[Choice]] = {
    "none": Nothing,
    "example": ExampleLevel,
    "central": CentralFixed,
    "central_adaptive": CentralFollowing,
    "central_per_layer": CentralByLayer,
    "local_gaussian": LocalGaussianReports,
    "local_laplace": LocalLaplaceReports,
}


@dataclass(frozen=True)
class PrivacyTerms:
    """The privacy of one experiment, derived from its config and data.

    Args:
        setting: of the experiment.
        caveats: what the experiment adds to what a guarantee never covers.
    """

    setting: Setting
    caveats: Sequence[str]

    @property
    def config(self) -> Config:
        return self.setting.config

    @property
    def data(self) -> FederatedData:
        return self.setting.data

    @property
    def sampler(self) -> CohortSampler:
        """As planned; ``mechanism`` makes one from the streams that the run has."""
        return self.setting.sampler

    @cached_property
    def choice(self) -> Choice:
        """What ``privacy`` says."""
        make: Any = _CHOICES[self.config.privacy.mechanism]
        choice: Choice = make(self.setting)
        return choice

    def check(self) -> None:
        """Raise ConfigError for what no accountant judges, or no mechanism can be made of."""
        if self.config.privacy.mechanism != "none":
            _ = self.accounting

    @property
    def population(self) -> int:
        """Protected units of the headline: clients, or all clients' training examples together."""
        if protected_units(self.config.privacy.mechanism)[:1] == ("client",):
            return self.setting.num_clients
        return self._num_examples

    @property
    def _num_examples(self) -> int:
        return int(self.data.client_sizes[self.data.population_ids].sum())

    @cached_property
    def delta(self) -> tuple[float, str]:
        """delta and the rule that it comes from."""
        privacy = self.config.privacy
        return choose_delta(privacy.delta, population=self.population, accept_weak=privacy.accept_weak_delta)

    @cached_property
    def accounting(self) -> Accounting:
        """delta, relation and accountant, with ``auto`` resolved to what judges this sampling."""
        privacy = self.config.privacy
        return self.choice.accounting(
            delta=self.delta[0],
            relation=cast(Any, privacy.relation),
            accountant=cast(Any, privacy.accountant),
        )

    @property
    def budget(self) -> float:
        """Epsilon that no release may exceed; ``inf`` for none."""
        epsilon = self.config.privacy.epsilon
        return math.inf if epsilon is None else epsilon

    def noise_multipliers(self) -> np.ndarray:
        """Calibrated, or as given: one per client where clients add the noise, shape (1,) at a server, else empty."""
        privacy = self.config.privacy
        if privacy.noise_multiplier is not None:
            return np.full(self.choice.num_multipliers, privacy.noise_multiplier)
        if privacy.mechanism == "none" or privacy.epsilon == math.inf:
            return np.zeros(self.choice.num_multipliers)
        return self.choice.calibrated(self.budget, self.accounting)

    def mechanism(self, noise_multipliers: np.ndarray, streams: Streams) -> Mechanism:
        """The mechanism that the config names, with the noise that the plan found."""
        return self.choice.mechanism(noise_multipliers, streams)

    @cached_property
    def terms(self) -> Terms:
        """Under which a guarantee of this experiment is stated; logged before training, checked by ``verify``."""
        config, none = self.config, self.config.privacy.mechanism == "none"
        return Terms(
            mechanism=config.privacy.mechanism,
            delta=None if none else self.accounting.delta,
            delta_rule=None if none else self.delta[1],
            relation=None if none else self.accounting.relation,
            accountant=None if none else self.accounting.accountant,
            num_examples=self._num_examples,
            num_clients=self.setting.num_clients,
            noise_secret=config.seeds.noise == "secret",
            seeds={
                purpose: getattr(config.seeds, purpose) if getattr(config.seeds, purpose) is not None else config.seed
                for purpose in ("data", "sampling", "model", "noise")
            },
            noisy_steps_per_round=self.choice.noisy_steps_per_round,
            public_data=self.data.public,
            caveats=tuple(self.caveats),
            **in_words(config, self.sampler.law),
        )

    def guarantee(self, entries: Sequence[ReleaseEntry]) -> Guarantee | None:
        """What a ledger of this experiment earns."""
        return state_guarantee(entries, terms=self.terms)
