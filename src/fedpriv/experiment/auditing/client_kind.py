"""``audit=client_canaries``: clients without data that send a random direction."""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch

from fedpriv.accounting.claims import noise_by_server, protects
from fedpriv.audits.canaries import Canaries
from fedpriv.audits.client_canaries import CanaryTrainer
from fedpriv.errors import ConfigError
from fedpriv.training import LocalTrainer

from ..assembly import Experiment
from .kinds import check_averaging

_NORM_WITHOUT_PRIVACY = 1.0


@final
@dataclass(frozen=True, kw_only=True)
class ClientCanaries:
    """Behind all other clients (``experiment/canary_clients.py``)."""

    experiment: Experiment

    def check(self) -> None:
        config = self.experiment.config
        mechanism = config.privacy.mechanism
        if mechanism != "none" and not protects(mechanism, "client"):
            raise ConfigError(
                f"audit=client_canaries asks what a client's update gives away, but privacy={mechanism} protects "
                "examples: use audit=gradient_canaries or audit=example_canaries, a client-level mechanism, or "
                "privacy=none."
            )
        check_averaging(self.experiment)
        if not noise_by_server(mechanism) and config.strategy.weighting != "uniform":
            raise ConfigError(
                "audit=client_canaries has clients without data, to which strategy.weighting=examples gives no weight: "
                "use strategy.weighting=uniform."
            )

    def trainer(self, trainer: LocalTrainer, canaries: Canaries) -> LocalTrainer:
        norm = self.experiment.config.privacy.clipping_norm
        return CanaryTrainer(
            trainer=trainer,
            canaries=canaries,
            first=self.experiment.data.num_clients - canaries.count,
            norm=_NORM_WITHOUT_PRIVACY if norm is None else norm,
        )

    def scores(self, canaries: Canaries, *, begun: torch.Tensor, ended: torch.Tensor) -> np.ndarray:
        return canaries.cosines(ended - begun)

    @property
    def dimension(self) -> int | None:
        return self.experiment.layout(self.experiment.new_model()).size
