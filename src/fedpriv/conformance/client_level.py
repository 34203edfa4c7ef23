"""A client-level ``Mechanism`` as a subject: clients clip, the server sums and adds noise."""

import math
from collections.abc import Mapping
from functools import cached_property
from typing import final

import numpy as np

from fedpriv.accounting.sampled_gaussian import Relation
from fedpriv.accounting.sampling import CohortSampling
from fedpriv.errors import ConfigError

from .mechanism_subject import MechanismSubject, Permit
from .scripted_federation import ScriptedFederation, clients_with, planned_trainer
from .subject import Claim


@final
class ClientLevelSubject(MechanismSubject):
    """What its ledger entries claim, over the public expected cohort."""

    unit = "client"

    @cached_property
    def claim(self) -> Claim:
        entry, cohort = self.entry, self.sampler.law.cohort
        if not isinstance(entry.noise_std, float | int):
            raise ConfigError(f"{self.name}: a client-level entry has one noise_std, not {entry.noise_std}.")
        times: dict[Relation, float] = {"add_or_remove_one": 1.0, "zero_out": 1.0, "replace_one": 2.0}
        if entry.sampling == "fixed_size":  # its size is public and fixed: nobody is added or removed
            del times["add_or_remove_one"]
        return Claim(
            unit="client",
            sensitivity={relation: factor * entry.sensitivity / cohort for relation, factor in times.items()},
            noise_std=entry.noise_std / cohort,
            noise_law="gaussian" if entry.noise_law == "gaussian" else "laplace",
            noise_by="server",
            cohort=math.ceil(cohort),
            target_quantile=None,
        )

    @property
    def accounted_sampling(self) -> CohortSampling:
        """As the ledger's entry says, whatever the sampler does."""
        entry = self.entry
        separation = 1 if entry.turn is None else entry.turn[1]
        if not isinstance(entry.rate, float | int):
            raise ConfigError(f"{self.name}: a client-level entry has one rate, not {entry.rate}.")
        return CohortSampling(
            kind=entry.sampling,  # type: ignore[arg-type]
            population=self.population,
            cohort=entry.cohort if entry.sampling == "fixed_size" else entry.rate * self.population / separation,
            separation=separation,
            cap=entry.cohort if entry.sampling == "capped_poisson" else 0,
        )

    def federation(
        self, start: Mapping[str, np.ndarray], *, seed: int, permit: Permit, round: int, attempt: int
    ) -> ScriptedFederation:
        nothing = clients_with({0: np.zeros((1, 1))}, population=self.population)
        return ScriptedFederation(
            mechanism=self.mechanism(seed),
            start=start,
            seed=seed,
            permit=permit,
            round=round,
            attempt=attempt,
            make_data=lambda round_: nothing,
            make_trainer=planned_trainer,
            each=False,
        )
