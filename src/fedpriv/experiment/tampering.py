"""``attack`` where it changes the run: which clients are attackers, refused in time where nothing could be measured."""

from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from torch import nn

from fedpriv.accounting.claims import protects
from fedpriv.attacks.integrity import Facts, Outcome, Tampering, TamperingTrainer, outcome
from fedpriv.config import tampering
from fedpriv.errors import ConfigError
from fedpriv.experiment.assembly import Experiment
from fedpriv.experiment.pixels import pixel_range
from fedpriv.streams import Streams
from fedpriv.targets import build
from fedpriv.training import LocalTrainer
from fedpriv.training.tasks import Classification

_BATCH = 256


@final
@dataclass(frozen=True, kw_only=True)
class Tampered:
    """One experiment under attack.

    Args:
        name: of the attack.
    """

    experiment: Experiment
    name: str

    @cached_property
    def tampering(self) -> Tampering:
        """What the config asks for.

        Raises:
            ConfigError: no such attack, or arguments that it does not take.
        """
        spec = self.experiment.config.attack[self.name]
        where = f"attack.{self.name}"
        return build(spec, expected=Tampering, where=where)  # type: ignore[type-abstract]

    def check(self) -> None:
        """Raise ConfigError for an attack that this run has no place for, or whose success could not be measured."""
        config = self.experiment.config
        if not isinstance(self.experiment.task, Classification):
            raise ConfigError(
                f"attack={self.name} is of classes, but this is task={type(self.experiment.task).__name__.lower()}: "
                "leave it out, or use data with class labels."
            )
        if config.strategy.personal:
            raise ConfigError(
                f"attack={self.name} is measured on a whole model, but with strategy.personal the server has shared "
                "layers only. Leave the attack out, or use another strategy."
            )
        if self.experiment.client_app_is_own:
            raise ConfigError(
                f"attack={self.name}: with strategy.client_app clients are somebody else's, and nobody tells them to "
                "tamper. Leave the attack out."
            )
        try:
            self.tampering.check(self.facts)
            _ = self.attackers
        except ConfigError as error:
            raise ConfigError(f"attack={self.name}: {error}") from error

    @cached_property
    def facts(self) -> Facts:
        data, ends = self.experiment.data, pixel_range(self.experiment.data)
        return Facts(
            num_classes=self.experiment.task.output_shape[-1],
            input_shape=data.input_shape,
            brightest=None if ends is None else ends[1],
        )

    @cached_property
    def attackers(self) -> frozenset[int]:
        """Ids: a random choice, by the sampling seed, among the clients of the population that hold data."""
        data = self.experiment.data
        holders = data.population_ids[data.client_sizes[data.population_ids] > 0]
        order = self.experiment.streams(None).rng("attackers").permutation(holders)
        return frozenset(order[: self.tampering.count(len(holders))].tolist())

    @property
    def in_words(self) -> str:
        return f"attack={self.name}: {len(self.attackers)} of {len(self.experiment.data.population_ids)} clients tamper"

    def trainer(self, trainer: LocalTrainer, streams: Streams) -> LocalTrainer:
        """As ``trainer``, with the attackers among its clients."""
        return TamperingTrainer(
            trainer=trainer,
            tampering=self.tampering,
            attackers=self.attackers,
            facts=self.facts,
            factor=self.tampering.factor(replacing=self._replacing),
            streams=streams,
        )

    @property
    def _replacing(self) -> float:
        """Expected weight of a cohort over that of the attackers in it, one of whom at least is taken to be there."""
        experiment, own = self.experiment, sorted(self.attackers)
        if not own:
            return 1.0
        alike = protects(experiment.config.privacy.mechanism, "client")
        weights = np.ones(experiment.data.num_clients) if alike else experiment.client_weights
        population = experiment.data.population_ids
        rate = experiment.sampler(experiment.streams(None)).law.cohort / len(population)
        theirs = weights[own]
        return float(rate * weights[population].sum() / max(rate * theirs.sum(), theirs.mean()))

    def outcome(self, model: nn.Module) -> Outcome:
        """What the attackers have of this model, by the server's test examples."""
        return outcome(
            model,
            self.experiment.data.test_batches(_BATCH),
            tampering=self.tampering,
            facts=self.facts,
            device=self.experiment.device,
        )

    def tested(self, model: nn.Module) -> dict[str, float]:
        """The same as a test metric."""
        success = self.outcome(model).success
        return {} if success is None else {self.metric: success}

    @property
    def metric(self) -> str:
        return f"test_{self.name}_success"


def tampered_by(experiment: Experiment) -> Tampered | None:
    """The attack of the config that changes the run; None for none."""
    name = next(iter(tampering(experiment.config)), None)
    return None if name is None else Tampered(experiment=experiment, name=name)
