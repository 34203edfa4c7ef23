"""The likelihood ratio attack (Carlini et al. 2022, "Membership Inference Attacks From First Principles")."""

from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from scipy import stats

from fedpriv.errors import ConfigError

from ..observation import BoolArray, FloatArray, MembershipAttack, Needs, ShadowObservation

Variance = Literal["fixed", "per_example"]
_LEAST_LOSS = 1e-16  # a loss of 0 is confidence without end
_LEAST_VARIANCE = 1e-12


@final
@dataclass(frozen=True, kw_only=True)
class LiraOnline(MembershipAttack):
    """Log ratio of the confidence's densities among shadows with and without the example (section IV, algorithm 1).

    Args:
        shadows: shadow models; half of them train on each candidate. Even, at least 4.
        variance: ``per_example``, or ``fixed``: one for all examples with and one without, for few shadows (below 64,
            section VI-C).
    """

    shadows: int
    variance: str

    def __post_init__(self) -> None:
        check_shadows("lira_online", self.shadows)
        _check_variance("lira_online", self.variance)

    @property
    def needs(self) -> Needs:
        return Needs(level="example", sees="final_model", shadows=self.shadows, candidates=None)

    def scores(self, seen: ShadowObservation) -> FloatArray:
        observed, confidence = logit_confidence(seen.losses), logit_confidence(seen.shadow_losses)
        with_it = _Normal.of(confidence, seen.shadow_members, variance=self.variance)
        without = _Normal.of(confidence, ~seen.shadow_members, variance=self.variance)
        return with_it.log_density(observed) - without.log_density(observed)


@final
@dataclass(frozen=True, kw_only=True)
class LiraOffline(MembershipAttack):
    """How far above the confidence of shadows without the example the model's lies (section IV-C, equation 4).

    The score is the log of one minus the one-sided p-value, kept precise in its upper tail.

    Args:
        shadows, variance: as for `LiraOnline`; half of the shadows, those without the example, are used.
    """

    shadows: int
    variance: str

    def __post_init__(self) -> None:
        check_shadows("lira_offline", self.shadows)
        _check_variance("lira_offline", self.variance)

    @property
    def needs(self) -> Needs:
        return Needs(level="example", sees="final_model", shadows=self.shadows, candidates=None)

    def scores(self, seen: ShadowObservation) -> FloatArray:
        without = _Normal.of(logit_confidence(seen.shadow_losses), ~seen.shadow_members, variance=self.variance)
        return without.standardised(logit_confidence(seen.losses))  # ranks as the p-value does, and never saturates


def logit_confidence(losses: FloatArray) -> FloatArray:
    """log(p / (1 - p)) of p = exp(-loss), of any shape: nearly normal over models, where p is not (section IV-B)."""
    bounded = np.maximum(losses, _LEAST_LOSS)
    # log(expm1(loss)), without overflow
    confidence: FloatArray = -(bounded + np.log(-np.expm1(-bounded)))
    return confidence


@dataclass(frozen=True, kw_only=True, eq=False)
class _Normal:
    """A normal law for each example: mean and variance (n,)."""

    mean: FloatArray
    variance: FloatArray

    @staticmethod
    def of(values: FloatArray, used: BoolArray, *, variance: str) -> "_Normal":
        """Fitted to those ``values`` (N, n) that are ``used``, at least two of each example."""
        count = used.sum(axis=0)
        mean = np.where(used, values, 0.0).sum(axis=0) / count
        squares = np.where(used, (values - mean) ** 2, 0.0).sum(axis=0)
        if variance == "fixed":
            spread = np.full(len(mean), squares.sum() / (count - 1).sum())
        else:
            spread = squares / (count - 1)
        return _Normal(mean=mean, variance=np.maximum(spread, _LEAST_VARIANCE))

    def standardised(self, values: FloatArray) -> FloatArray:
        standardised: FloatArray = (values - self.mean) / np.sqrt(self.variance)
        return standardised

    def log_density(self, values: FloatArray) -> FloatArray:
        density: FloatArray = stats.norm.logpdf(values, self.mean, np.sqrt(self.variance))
        return density


def check_shadows(attack: str, shadows: int) -> None:
    """Raise ConfigError unless every candidate can be in half of the shadows, and twice at least in and out."""
    if shadows < 4 or shadows % 2:
        raise ConfigError(
            f"attack.{attack}.shadows={shadows} must be even and at least 4: half of them train on each candidate."
        )


def _check_variance(attack: str, variance: str) -> None:
    if variance not in ("fixed", "per_example"):
        raise ConfigError(f"attack.{attack}.variance={variance} is unknown; use one of fixed, per_example.")
