"""``audit=example_canaries`` and ``audit=gradient_canaries``: places among the clients' training examples."""

import math
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import final

import numpy as np
import torch

from fedpriv.accounting.claims import protects
from fedpriv.audits.canaries import Canaries
from fedpriv.audits.example_canaries import Places, PlantingTrainer
from fedpriv.errors import ConfigError
from fedpriv.training import AdditiveTask, LocalTrainer

from ..assembly import Experiment
from ..attacking.candidates import Candidates
from ..canary_examples import canary_places
from ..privacy.example import gradient_norm
from .kinds import check_averaging


@final
@dataclass(frozen=True, kw_only=True)
class ExampleCanaries:
    """Mislabelled examples (Steinke et al. 2023, section 6), scored by their loss under the final model."""

    experiment: Experiment
    dimension: None = None

    def check(self) -> None:
        config = self.experiment.config
        mechanism = config.privacy.mechanism
        if mechanism != "none" and not protects(mechanism, "example"):
            raise ConfigError(
                f"audit=example_canaries asks what one example gives away, but privacy={mechanism} protects clients: "
                "use audit=client_canaries, privacy=example or both_units, or privacy=none."
            )
        check_averaging(self.experiment)
        if config.training.function is not None:
            raise ConfigError(
                "audit=example_canaries leaves single examples out of local steps, but training.function trains as it "
                "likes: leave it out."
            )
        if not isinstance(self.experiment.task, AdditiveTask):
            raise ConfigError(
                "audit=example_canaries reads the loss of single examples, but that of task="
                f"{type(self.experiment.task).__name__.lower()} compares examples with each other."
            )
        places_of(self.experiment)

    def trainer(self, trainer: LocalTrainer, canaries: Canaries) -> LocalTrainer:
        return PlantingTrainer(trainer=trainer, canaries=canaries, places=self._places, direction=None)

    def scores(self, canaries: Canaries, *, begun: torch.Tensor, ended: torch.Tensor) -> np.ndarray:
        clients = self.experiment.data.clients
        rows = clients.indices[clients.offsets[self._places.clients] + self._places.indices]
        return -Candidates(self.experiment, self.experiment.data, list(rows[:, None])).losses(ended)

    @cached_property
    def _places(self) -> Places:
        return places_of(self.experiment)


@final
@dataclass(frozen=True, kw_only=True)
class GradientCanaries:
    """Directions in the place of clipped gradients (Nasr et al. 2023), scored by what the model moved against them."""

    experiment: Experiment

    def check(self) -> None:
        config = self.experiment.config
        mechanism = config.privacy.mechanism
        if not protects(mechanism, "example"):
            raise ConfigError(
                "audit=gradient_canaries plants gradients as long as those of examples are clipped to, but "
                f"privacy={mechanism} clips none: use privacy=example or both_units (privacy.epsilon=inf clips without "
                "noise), or another audit."
            )
        check_averaging(self.experiment)
        if config.privacy.layer_norms:
            raise ConfigError(
                "audit=gradient_canaries plants directions that are clipped as a whole, not to privacy.layer_norms: "
                "use audit=example_canaries, or leave the norms out."
            )
        places_of(self.experiment)

    def trainer(self, trainer: LocalTrainer, canaries: Canaries) -> LocalTrainer:
        experiment = self.experiment
        norm = gradient_norm(experiment.config.privacy, experiment.layout(experiment.new_model()).names)
        direction = partial(canaries.sparse_direction, room=self._room, norm=norm)
        return PlantingTrainer(trainer=trainer, canaries=canaries, places=places_of(experiment), direction=direction)

    def scores(self, canaries: Canaries, *, begun: torch.Tensor, ended: torch.Tensor) -> np.ndarray:
        return canaries.sparse_cosines(begun - ended, room=self._room)  # steps go against gradients

    @property
    def dimension(self) -> int | None:
        return len(self._room)

    @cached_property
    def _room(self) -> np.ndarray:
        """Coordinates (int64) that data hardly move: the quarter of the smallest gradients under the initial model.

        Of test examples, by which the server may choose its canaries. A run moves all of a model against the data's
        gradient, which would hide one example's.
        """
        experiment = self.experiment
        model = experiment.new_model()
        layout = experiment.layout(model)
        squares = torch.zeros(layout.size)
        for found in _of_test_examples(experiment).gradients(layout.from_module(model)):
            squares += found.square()
        return np.sort(torch.argsort(squares, stable=True)[: max(4, len(squares) // 4)].numpy())


def places_of(experiment: Experiment) -> Places:
    """Raise ConfigError where there are fewer examples than canaries."""
    return canary_places(experiment.config, experiment.data, experiment.streams(None))


def _of_test_examples(experiment: Experiment) -> Candidates:
    """At most 1,024 of them, 32 together."""
    data = experiment.data
    rows = np.arange(min(len(data.test), 1024))
    return Candidates(experiment, replace(data, train=data.test), np.array_split(rows, math.ceil(len(rows) / 32)))
