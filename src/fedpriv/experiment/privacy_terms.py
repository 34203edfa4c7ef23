"""What an experiment protects, by which mechanism, at which price, and what may be said of it."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fedpriv.accounting.budget import Accounting
from fedpriv.accounting.calibration import calibrate, calibrate_clients
from fedpriv.accounting.guarantee import Guarantee, state_guarantee
from fedpriv.accounting.ledger import ReleaseEntry
from fedpriv.accounting.sampled_gaussian import check_accountable
from fedpriv.accounting.sampling import ACCOUNTED_AS
from fedpriv.config import Config
from fedpriv.data import FederatedData
from fedpriv.errors import ConfigError
from fedpriv.experiment.cohorts import cohort_sampler
from fedpriv.privacy import ClippingGrid, CohortSampler, Mechanism, PoissonBatches
from fedpriv.privacy.mechanisms import CentralGaussian, ExampleGaussian, NoPrivacy
from fedpriv.privacy.sampling import participations
from fedpriv.streams import Streams


@dataclass(frozen=True)
class PrivacyTerms:
    """The privacy of one experiment, derived from its config and data.

    Args:
        sampler: as planned; ``mechanism`` makes one from the streams that the run has.
        caveats: what the experiment adds to what a guarantee never covers.
    """

    config: Config
    data: FederatedData
    sampler: CohortSampler
    caveats: Sequence[str]

    def check(self) -> None:
        """Raise ConfigError for what no accountant judges."""
        if self.config.privacy.mechanism != "none":
            check_accountable(
                sampling=self._accounted_sampling,
                relation=self.accounting.relation,
                accountant=self.accounting.accountant,
            )

    @property
    def population(self) -> int:
        """Protected units: clients, or all clients' training examples together."""
        if self.config.privacy.mechanism == "central":
            return len(self.data.population_ids)
        return int(self.data.client_sizes[self.data.population_ids].sum())

    @cached_property
    def delta(self) -> tuple[float, str]:
        """delta and the rule that it comes from."""
        given, n = self.config.privacy.delta, self.population
        if given is None and n < 2:
            raise ConfigError(
                "One protected unit alone has no sensible delta below 1/n; use more clients, or give privacy.delta and "
                "privacy.accept_weak_delta=true."
            )
        if given is None:
            return n**-1.1, f"n^-1.1 with n = {n}"
        if given >= 1 / n and not self.config.privacy.accept_weak_delta:
            raise ConfigError(
                f"privacy.delta={given:g} is not below 1/n = {1 / n:.3g} (n = {n}): releasing one unit's data in the "
                "clear would satisfy it. Use a smaller delta, or set privacy.accept_weak_delta=true."
            )
        return given, "given"

    @cached_property
    def accounting(self) -> Accounting:
        """delta, relation and accountant, with ``auto`` resolved to what judges this sampling."""
        privacy = self.config.privacy
        sampled = self._accounted_sampling
        fixed_size = sampled == "fixed_size"
        relation: Any = privacy.relation
        if relation == "auto":
            relation = "replace_one" if fixed_size else "add_or_remove_one"
        accountant: Any = privacy.accountant
        if accountant == "auto":
            accountant = "rdp" if fixed_size else "pld"
        return Accounting(delta=self.delta[0], relation=relation, accountant=accountant)

    @property
    def _accounted_sampling(self) -> Any:
        return "poisson" if self.config.privacy.mechanism == "example" else ACCOUNTED_AS[self.sampler.law.kind]

    @property
    def budget(self) -> float:
        """Epsilon that no release may exceed; ``inf`` for none."""
        epsilon = self.config.privacy.epsilon
        return math.inf if epsilon is None else epsilon

    def noise_multipliers(self) -> np.ndarray:
        """Calibrated, or as given: one per client at example level, shape (1,) at client level, else empty."""
        privacy = self.config.privacy
        if privacy.mechanism == "none":
            return np.zeros(0)
        size = self.data.num_clients if privacy.mechanism == "example" else 1
        if privacy.noise_multiplier is not None:
            return np.full(size, privacy.noise_multiplier)
        if privacy.epsilon == math.inf:
            return np.zeros(size)
        law = self.sampler.law
        target: dict[str, Any] = {"target_epsilon": privacy.epsilon, **asdict(self.accounting)}
        if privacy.mechanism == "central":
            rounds = law.most_turns(self.config.rounds)
            return np.array([calibrate(release_at=lambda z: {law.release(z): rounds}, **target)])
        counts = participations(
            self.sampler, first_round=1, last_round=self.config.rounds, population=self.data.num_clients
        )
        noise = calibrate_clients(rates=self._rates, counts=counts * self._steps, **target)
        return np.full(size, np.nanmax(noise)) if privacy.calibration == "shared" else noise

    def mechanism(self, noise_multipliers: np.ndarray, streams: Streams) -> Mechanism:
        """The mechanism that the config names, with the noise that the plan found."""
        privacy = self.config.privacy
        if privacy.mechanism == "example":
            return ExampleGaussian(
                max_grad_norm=given(privacy.max_grad_norm),
                rates=self._rates,
                steps=self._steps,
                noise_multipliers=noise_multipliers,
            )
        if privacy.mechanism == "central":
            return CentralGaussian(
                grid=ClippingGrid(
                    clipping_norm=given(privacy.clipping_norm), summands=len(self.data.population_ids)
                ),
                sampler=cohort_sampler(self.config, self.data.population_ids, streams),
                noise_multiplier=float(noise_multipliers[0]),
                streams=streams,
            )
        return NoPrivacy()

    @property
    def to_log(self) -> dict[str, Any] | None:
        """Under which a guarantee of this experiment is stated; logged before training, checked by ``verify``."""
        if self.config.privacy.mechanism == "none":
            return None
        return {
            **asdict(self.accounting),
            "delta_rule": self.delta[1],
            "population": self.population,
            "noise_secret": self.config.seeds.noise == "secret",
            "caveats": list(self.caveats),
        }

    def guarantee(self, entries: Sequence[ReleaseEntry]) -> Guarantee | None:
        """What a ledger of this experiment earns."""
        if self.config.privacy.mechanism == "none":
            return None
        return state_guarantee(
            entries,
            accounting=self.accounting,
            delta_rule=self.delta[1],
            population=self.population,
            noise_secret=self.config.seeds.noise == "secret",
            caveats=self.caveats,
        )

    @cached_property
    def _rates(self) -> np.ndarray:
        return np.array([local_batches(self.config).rate(n) for n in self.data.client_sizes.tolist()])

    @cached_property
    def _steps(self) -> np.ndarray:
        return np.array([local_batches(self.config).steps(n) for n in self.data.client_sizes.tolist()], dtype=np.int64)


def local_batches(config: Config) -> PoissonBatches:
    """The batches of private local steps: what draws them is what the accountant is told."""
    return PoissonBatches(batch_size=config.training.batch_size, local_epochs=config.training.local_epochs)


def given(value: float | None) -> float:
    """``value``, which the config layer has seen to."""
    if value is None:
        raise ConfigError("A norm that this mechanism needs is missing.")
    return value
