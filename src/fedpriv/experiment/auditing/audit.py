"""``audit``: which canaries join a run, refused in time where they could show nothing."""

from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch

from fedpriv.accounting.claims import noise_by_server, protects
from fedpriv.audits.bounds import Guesses, one_shot_estimate
from fedpriv.audits.canaries import Canaries
from fedpriv.audits.client_canaries import CanaryTrainer
from fedpriv.audits.finding import Finding, lower_bound
from fedpriv.config import Config
from fedpriv.errors import ConfigError
from fedpriv.streams import Streams
from fedpriv.training import LocalTrainer

from ..assembly import Experiment

_LEAST_EPSILON = 1.0  # that an audit must be able to show, if all of its guesses are right
_FEWEST = 50  # guesses, unless others are asked for: those that one is surest of show most
_NORM_WITHOUT_PRIVACY = 1.0


@final
@dataclass(frozen=True, kw_only=True)
class Audit:
    """The audit of one experiment.

    Args:
        spec: ``config.audit``, checked by the config layer.
    """

    experiment: Experiment
    spec: dict[str, Any]

    def check(self) -> None:
        """Raise ConfigError for canaries that this run has no place for, or too few to show anything."""
        config = self.experiment.config
        mechanism = config.privacy.mechanism
        if mechanism != "none" and not protects(mechanism, "client"):
            raise ConfigError(
                f"audit=client_canaries asks what a client's update gives away, but privacy={mechanism} protects "
                "examples: choose a client-level mechanism, or privacy=none."
            )
        if config.strategy.algorithm != "fedavg":
            raise ConfigError(
                "audit=client_canaries knows what becomes of averaged updates, not what "
                f"strategy={config.strategy.algorithm} makes of them: use strategy=fedavg, fedavgm or fedadam."
            )
        if not noise_by_server(mechanism) and config.strategy.weighting != "uniform":
            raise ConfigError(
                "audit=client_canaries has clients without data, to which strategy.weighting=examples gives no weight: "
                "use strategy.weighting=uniform."
            )
        best = self._best
        if best < _LEAST_EPSILON:
            raise ConfigError(
                f"{self.guesses_made} guesses on {self.count} canaries at delta {self.delta:.2g}, all of them right, "
                f"would show no epsilon above {best:.3g}: use more audit.canaries and audit.guesses, audit.bound=f_dp, "
                "or a smaller privacy.delta."
            )

    @property
    def _best(self) -> float:
        guesses = Guesses(canaries=self.count, made=self.guesses_made, right=self.guesses_made)
        return lower_bound(guesses, bound=self.spec["bound"], delta=self.delta, confidence=self.spec["confidence"])

    @property
    def count(self) -> int:
        return int(self.spec["canaries"])

    @property
    def guesses_made(self) -> int:
        """Half of them in, half of them out: fixed before the run."""
        made = self.spec["guesses"]
        return 2 * (int(made if made is not None else min(self.count, max(_FEWEST, self.count // 5))) // 2)

    @property
    def delta(self) -> float:
        """Of the claim that is audited; 0 where there is none."""
        promise = self.experiment.privacy.headline
        return promise.delta[0] if promise.unit is not None else 0.0

    def canaries(self, streams: Streams) -> Canaries:
        return Canaries(count=self.count, streams=streams)

    def trainer(self, trainer: LocalTrainer, streams: Streams) -> LocalTrainer:
        """As ``trainer``, with the canaries in their places."""
        norm = self.experiment.config.privacy.clipping_norm
        return CanaryTrainer(
            trainer=trainer,
            canaries=self.canaries(streams),
            first=self.experiment.data.num_clients - self.count,
            norm=_NORM_WITHOUT_PRIVACY if norm is None else norm,
        )

    def finding(self, moved: torch.Tensor, streams: Streams) -> Finding:
        """What the final model shows, to somebody who knows the initial one.

        Args:
            moved: final minus initial parameters (d,).
        """
        canaries = self.canaries(streams)
        cosines = canaries.cosines(moved)
        inside = cosines[canaries.included]
        estimable = self.delta > 0 and len(inside) >= 10 and bool(np.isfinite(cosines).all())
        return Finding.of(
            canaries.guesses(cosines, made=self.guesses_made),
            kind="client",
            bound=self.spec["bound"],
            delta=self.delta,
            confidence=float(self.spec["confidence"]),
            estimate=one_shot_estimate(inside, dimension=len(moved), delta=self.delta) if estimable else None,
        )


def audit_of(experiment: Experiment) -> Audit | None:
    """The audit that the config asks for; None for none."""
    config: Config = experiment.config
    return Audit(experiment=experiment, spec=config.audit) if config.audit else None
