"""What an experiment protects, by which mechanism, at which price, and what may be said of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fedpriv.accounting.claims import Unit, protected_units
from fedpriv.accounting.ledger import ReleaseEntry
from fedpriv.config import Config
from fedpriv.privacy import CohortSampler, Mechanism, Retirement
from fedpriv.privacy.mechanisms import BothUnits
from fedpriv.streams import Streams

from ..cohorts import cohort_sampler
from .both_units import as_example_level
from .central import CentralByLayer, CentralFixed, CentralFollowing
from .choice import Choice, Setting
from .client_budgets import retirement, without_retired
from .distributed import Shares
from .example import ExampleLevel
from .ftrl import BandedNoise, TreeNoise
from .local import LocalGaussianReports, LocalLaplaceReports
from .none import Nothing
from .promise import Promise

_CHOICES: Mapping[str, type[Choice]] = {
    "none": Nothing,
    "example": ExampleLevel,
    "central": CentralFixed,
    "central_adaptive": CentralFollowing,
    "central_per_layer": CentralByLayer,
    "distributed": Shares,
    "ftrl_tree": TreeNoise,
    "ftrl_banded": BandedNoise,
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

    @cached_property
    def promises(self) -> Sequence[Promise]:
        """What each kind of unit is promised, the headline's first; with ``privacy=none`` one that claims nothing."""
        name = self.config.privacy.mechanism
        if name == "both_units":
            halves: Sequence[Choice] = (CentralFixed(self.setting), ExampleLevel(as_example_level(self.setting)))
        else:
            make: Any = _CHOICES[name]
            halves = (make(self.setting),)
        units: Sequence[Unit | None] = protected_units(name) or (None,)
        return [
            Promise(mechanism=name, unit=unit, setting=half.setting, choice=half, caveats=self.caveats)
            for unit, half in zip(units, halves, strict=True)
        ]

    @property
    def headline(self) -> Promise:
        """To the unit that the run is known by."""
        return self.promises[0]

    def check(self) -> None:
        """Raise ConfigError for what no accountant judges, or no mechanism can be made of."""
        for promise in self.promises:
            if promise.unit is not None:
                _ = promise.accounting

    @property
    def num_multipliers(self) -> int:
        """Noise multipliers of all promises, one after the other."""
        return sum(promise.choice.num_multipliers for promise in self.promises)

    def noise_multipliers(self) -> np.ndarray:
        """Those of all promises, one after the other."""
        return np.concatenate([promise.noise_multipliers() for promise in self.promises])

    def sampler(self, streams: Streams, retirement: Retirement | None) -> CohortSampler:
        """Who takes part in which round, of those who are left."""
        everybody = cohort_sampler(self.config, self.setting.data.population_ids, streams)
        return without_retired(everybody, retirement, self.headline)

    def retirement(
        self,
        noise_multipliers: np.ndarray,
        streams: Streams,
        *,
        paid: Sequence[ReleaseEntry],
        since: int,
        attempt: int,
    ) -> Retirement | None:
        """How often every client may take part after round ``since``, all of ``paid`` counted; None: nobody retires."""
        return retirement(
            self.headline,
            self.mechanism(noise_multipliers, streams, None),
            self.sampler(streams, None),
            paid=paid,
            since=since,
            attempt=attempt,
        )

    def mechanism(
        self, noise_multipliers: np.ndarray, streams: Streams, retirement: Retirement | None
    ) -> Mechanism:
        """The mechanism that the config names, with the noise that the plan found."""
        sampler = self.sampler(streams, retirement)
        ends = np.cumsum([promise.choice.num_multipliers for promise in self.promises])[:-1]
        made: list[Any] = [
            promise.choice.mechanism(noise, streams, sampler)
            for promise, noise in zip(self.promises, np.split(noise_multipliers, ends), strict=True)
        ]
        return BothUnits(client=made[0], example=made[1]) if len(made) == 2 else made[0]
