"""A finished run, and what its adversaries may have of it: made when asked for, shared by the attacks of one run."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from fedpriv.attacks import Sees
from fedpriv.errors import DamagedRunError
from fedpriv.experiment.assembly import Experiment
from fedpriv.experiment.attacking.candidates import Candidates
from fedpriv.experiment.attacking.challenge import Challenge, client_challenge, example_challenge
from fedpriv.experiment.attacking.shadows import Shadows, Tell
from fedpriv.experiment.attacking.watching import SeenRounds
from fedpriv.records.checkpoint import load_checkpoint
from fedpriv.records.run_folder import RunFolder
from fedpriv.records.run_record import RunRecord
from fedpriv.streams import Streams, seed_key

_PURPOSES = (
    "candidates",
    "shadow members",
    "shadow seeds",
    "twin noise",
    "toolbox",
    "properties",
    "attributes",
    "simulated clients",
    "victims",
    "victim seeds",
    "adversary",
)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A run that is attacked.

    Args:
        shadows: the most that one of its attacks asks for: they are trained together.
        workers: processes that train them; None: as many as pay.
        tell: what is told while it takes time.
        confidence: of the intervals.
    """

    experiment: Experiment
    folder: RunFolder
    record: RunRecord
    shadows: int
    workers: int | None
    tell: Tell
    confidence: float

    @property
    def results(self) -> Path:
        """Folder of what attacks leave."""
        return self.folder.path / "attacks"

    @cached_property
    def streams(self) -> Streams:
        """The adversaries' coins."""
        return Streams(keys=dict.fromkeys(_PURPOSES, seed_key(self.experiment.config.seed)))

    # -- who is asked about --------------------------------------------------------------------------------

    @cached_property
    def examples(self) -> Challenge:
        return example_challenge(self.experiment.data, self.streams.rng("candidates"))

    @cached_property
    def clients(self) -> Challenge:
        return client_challenge(self.experiment.data, self.streams.rng("candidates"))

    @cached_property
    def candidates(self) -> Candidates:
        return self.of(self.examples)

    @cached_property
    def population(self) -> Candidates | None:
        """The server's test examples, where they are not candidates themselves."""
        data = self.experiment.data
        if self.examples.others == "test":
            return None
        of_test = replace(data, train=data.test)
        return Candidates(self.experiment, of_test, list(np.arange(len(data.test))[:, None]))

    def of(self, challenge: Challenge) -> Candidates:
        return Candidates(self.experiment, challenge.data, challenge.groups)

    # -- what is seen --------------------------------------------------------------------------------------

    @cached_property
    def final_state(self) -> dict[str, torch.Tensor]:
        """Of the model that the run ended with."""
        try:
            return load_file(self.folder.model)
        except Exception as error:
            raise DamagedRunError(f"{self.folder.model} cannot be read. Restore it from a copy.") from error

    @cached_property
    def final_losses(self) -> np.ndarray:
        return self.candidates.losses_of(self.final_state)

    @cached_property
    def shadow_models(self) -> Shadows:
        return Shadows(
            experiment=self.experiment,
            challenge=self.examples,
            rounds=self.record.rounds,
            noise_multipliers=self.noise_multipliers,
            streams=self.streams,
            folder=self.results / "shadows",
        )

    def rounds(self, attack: str, *, sees: Sees) -> SeenRounds:
        """What a server noted of them.

        Args:
            attack: its name.
        """
        return SeenRounds(self.folder.path, attack=attack, sees=sees, last_round=self.record.rounds)

    def model(self, *, is_final: bool) -> nn.Module:
        """As the run ended with, or began with; in evaluation mode."""
        model = self.experiment.new_model().eval()
        if is_final:
            model.load_state_dict(self.final_state)
        return model

    # -- what is known of the mechanism --------------------------------------------------------------------

    @cached_property
    def noise_multipliers(self) -> np.ndarray:
        """The run's."""
        checkpoint = load_checkpoint(self.folder.checkpoint)
        if checkpoint is None:
            return self.experiment.privacy.noise_multipliers()
        planned: np.ndarray = checkpoint.tensors["plan/noise_multipliers"].numpy()
        return planned

    @cached_property
    def mechanism_state(self) -> dict[str, torch.Tensor] | None:
        """What the mechanism keeps between rounds, after the last; None: no checkpoint, nothing known."""
        checkpoint = load_checkpoint(self.folder.checkpoint)
        if checkpoint is None:
            return None
        own = "mechanism/"
        return {name[len(own) :]: tensor for name, tensor in checkpoint.tensors.items() if name.startswith(own)}
