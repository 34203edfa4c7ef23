"""What an experiment protects, by which mechanism, at which price, and what may be said of it."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np

from fedpriv.accounting.budget import Accounting
from fedpriv.accounting.calibration import calibrate, calibrate_clients
from fedpriv.accounting.conventions import choose_accounting, choose_delta
from fedpriv.accounting.guarantee import Guarantee, state_guarantee
from fedpriv.accounting.ledger import ReleaseEntry
from fedpriv.accounting.sampling import ACCOUNTED_AS
from fedpriv.accounting.terms import Terms
from fedpriv.config import Config
from fedpriv.data import FederatedData
from fedpriv.errors import ConfigError
from fedpriv.experiment.cohorts import cohort_sampler
from fedpriv.experiment.terms_in_words import in_words
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
            _ = self.accounting

    @property
    def population(self) -> int:
        """Protected units: clients, or all clients' training examples together."""
        if self.config.privacy.mechanism == "central":
            return len(self.data.population_ids)
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
        return choose_accounting(
            delta=self.delta[0],
            sampling=self._accounted_sampling,
            relation=cast(Any, privacy.relation),
            accountant=cast(Any, privacy.accountant),
        )

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
            num_clients=len(self.data.population_ids),
            noise_secret=config.seeds.noise == "secret",
            seeds={
                purpose: getattr(config.seeds, purpose) if getattr(config.seeds, purpose) is not None else config.seed
                for purpose in ("data", "sampling", "model", "noise")
            },
            noisy_steps_per_round=self._noisy_steps_per_round(),
            public_data=self.data.public,
            caveats=tuple(self.caveats),
            **in_words(config, self.sampler.law),
        )

    def guarantee(self, entries: Sequence[ReleaseEntry]) -> Guarantee | None:
        """What a ledger of this experiment earns."""
        return state_guarantee(entries, terms=self.terms)

    def _noisy_steps_per_round(self) -> dict[str, int]:
        if self.config.privacy.mechanism != "example":
            steps = int(self.config.privacy.mechanism == "central")
            return {"min": steps, "max": steps}
        taken = self._steps[self.data.population_ids]
        return {"min": int(taken.min()), "max": int(taken.max())}

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
