"""What an auditor needs to know of a kind of canaries."""

from typing import Protocol

import numpy as np
import torch

from fedpriv.audits.canaries import Canaries
from fedpriv.errors import ConfigError
from fedpriv.training import LocalTrainer

from ..assembly import Experiment


class CanaryKind(Protocol):
    """Canaries in one experiment."""

    @property
    def experiment(self) -> Experiment: ...

    def check(self) -> None:
        """Raise ConfigError for an experiment that has no place for them."""
        ...

    def trainer(self, trainer: LocalTrainer, canaries: Canaries) -> LocalTrainer:
        """As ``trainer``, with the canaries in their places."""
        ...

    def scores(self, canaries: Canaries, *, begun: torch.Tensor, ended: torch.Tensor) -> np.ndarray:
        """The higher, the rather in (m,): what an auditor sees who knows the initial and the final model (d,)."""
        ...

    @property
    def dimension(self) -> int | None:
        """Of the space in which scores are cosines of random directions; None where they are none."""
        ...


def check_averaging(experiment: Experiment) -> None:
    """Raise ConfigError for another algorithm than averaging."""
    config = experiment.config
    if config.strategy.algorithm != "fedavg":
        raise ConfigError(
            f"audit={config.audit['kind']}_canaries knows what becomes of averaged updates, not what "
            f"strategy={config.strategy.algorithm} makes of them: use strategy=fedavg, fedavgm or fedadam."
        )
