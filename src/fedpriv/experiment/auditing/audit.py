"""``audit``: which canaries join a run, refused in time where they could show nothing, and what came of them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
import torch

from fedpriv.audits.bounds import Guesses, one_shot_estimate
from fedpriv.audits.canaries import Canaries
from fedpriv.audits.finding import UNITS, Finding, lower_bound
from fedpriv.config import Config
from fedpriv.errors import ConfigError
from fedpriv.streams import Streams
from fedpriv.training import LocalTrainer

from ..assembly import Experiment
from ..privacy import Promise
from .client_kind import ClientCanaries
from .example_kinds import ExampleCanaries, GradientCanaries
from .kinds import CanaryKind

_LEAST_EPSILON = 1.0  # that an audit must be able to show, if all of its guesses are right
_FEWEST = 50  # guesses, unless others are asked for: those that one is surest of show most
_KINDS: dict[str, type[CanaryKind]] = {
    "client": ClientCanaries,
    "example": ExampleCanaries,
    "gradient": GradientCanaries,
}


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
        self.kind.check()
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

    @cached_property
    def kind(self) -> CanaryKind:
        make: Any = _KINDS[self.spec["kind"]]
        made: CanaryKind = make(experiment=self.experiment)
        return made

    @property
    def count(self) -> int:
        return int(self.spec["canaries"])

    @property
    def guesses_made(self) -> int:
        """Half of them in, half of them out: fixed before the run."""
        made = self.spec["guesses"]
        return 2 * (int(made if made is not None else min(self.count, max(_FEWEST, self.count // 5))) // 2)

    @property
    def promise(self) -> Promise:
        """To the units that the canaries stand for; with ``privacy=none`` the one that claims nothing."""
        promises = self.experiment.privacy.promises
        return next((one for one in promises if one.unit == UNITS[self.spec["kind"]]), promises[0])

    @property
    def delta(self) -> float:
        """Of the claim that is audited; 0 where there is none."""
        return self.promise.delta[0] if self.promise.unit is not None else 0.0

    def canaries(self, streams: Streams) -> Canaries:
        return Canaries(count=self.count, streams=streams)

    def trainer(self, trainer: LocalTrainer, streams: Streams) -> LocalTrainer:
        """As ``trainer``, with the canaries in their places."""
        return self.kind.trainer(trainer, self.canaries(streams))

    def finding(self, streams: Streams, *, begun: torch.Tensor, ended: torch.Tensor) -> Finding:
        """What the final model shows, to somebody who knows the initial one.

        Args:
            begun, ended: parameters of both (d,).
        """
        canaries = self.canaries(streams)
        scores = self.kind.scores(canaries, begun=begun, ended=ended)
        return Finding.of(
            canaries.guesses(scores, made=self.guesses_made),
            kind=self.spec["kind"],
            bound=self.spec["bound"],
            delta=self.delta,
            confidence=float(self.spec["confidence"]),
            estimate=self._estimate(scores[canaries.included]),
        )

    def _estimate(self, inside: np.ndarray) -> float | None:
        """From the scores of those that are in; None where there is none."""
        dimension = self.kind.dimension
        if dimension is None or self.delta == 0 or len(inside) < 10 or not np.isfinite(inside).all():
            return None
        return one_shot_estimate(inside, dimension=dimension, delta=self.delta)


def audit_of(experiment: Experiment) -> Audit | None:
    """The audit that the config asks for; None for none."""
    config: Config = experiment.config
    return Audit(experiment=experiment, spec=config.audit) if config.audit else None
