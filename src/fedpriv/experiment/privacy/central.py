"""``privacy=central`` and its other forms of clipping: one noisy sum a round, calibrated over all rounds."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, final

import numpy as np

from fedpriv.accounting.budget import Accounting
from fedpriv.accounting.calibration import calibrate
from fedpriv.accounting.conventions import choose_accounting
from fedpriv.accounting.sampling import ACCOUNTED_AS
from fedpriv.errors import ConfigError
from fedpriv.models import ParameterLayout
from fedpriv.privacy import ClippingGrid, CohortSampler, Mechanism
from fedpriv.privacy.mechanisms import CentralAdaptive, CentralGaussian, CentralPerLayer, LayerNorm
from fedpriv.streams import Streams

from .choice import Setting, given
from .layer_norms import norms_of_layers

_COUNT_NOISE = 0.05  # of the expected cohort: sigma_b of Andrew et al. 2021, section 3.1


@dataclass(frozen=True)
class CentralChoice(ABC):
    """Every client's whole update is one unit's addend."""

    setting: Setting

    @property
    def num_multipliers(self) -> int:
        return 1

    @property
    def noisy_steps_per_round(self) -> Mapping[str, int]:
        return {"min": 1, "max": 1}

    def accounting(self, **asked: Any) -> Accounting:
        check_law(self.setting)
        return choose_accounting(sampling=ACCOUNTED_AS[self.setting.sampler.law.kind], **asked)

    def calibrated(self, target_epsilon: float, accounting: Accounting) -> np.ndarray:
        """For those who allow most; others retire."""
        law = self.setting.sampler.law
        turns = law.most_turns(self.setting.config.rounds)
        most = max(epsilon for epsilon, _ in self.setting.targets(target_epsilon))
        noise = calibrate(release_at=lambda z: {law.release(z): turns}, target_epsilon=most, **asdict(accounting))
        return np.array([noise])

    def mechanism(self, noise_multipliers: np.ndarray, streams: Streams, sampler: CohortSampler) -> Mechanism:
        return self._made(sampler=sampler, noise_multiplier=float(noise_multipliers[0]), streams=streams)

    @abstractmethod
    def _made(self, **shared: Any) -> Mechanism: ...


@final
class CentralFixed(CentralChoice):
    """``privacy=central``."""

    def _made(self, **shared: Any) -> Mechanism:
        norm = given(self.setting.config.privacy.clipping_norm)
        return CentralGaussian(grid=ClippingGrid(clipping_norm=norm, summands=self.setting.num_clients), **shared)


@final
class CentralFollowing(CentralChoice):
    """``privacy=central_adaptive``."""

    def _made(self, **shared: Any) -> Mechanism:
        privacy, cohort = self.setting.config.privacy, self.setting.sampler.law.cohort
        count_noise = privacy.count_noise
        if count_noise is None:
            count_noise = max(_COUNT_NOISE, 2 * shared["noise_multiplier"] / cohort)
        return CentralAdaptive(
            initial_norm=given(privacy.clipping_norm),
            summands=self.setting.num_clients,
            target_quantile=given(privacy.target_quantile),
            clipping_lr=given(privacy.clipping_lr),
            count_noise_std=count_noise * cohort,
            **shared,
        )


@final
class CentralByLayer(CentralChoice):
    """``privacy=central_per_layer``."""

    def _made(self, **shared: Any) -> Mechanism:
        privacy = self.setting.config.privacy
        layers = layer_norms(self.setting.layout, norm=given(privacy.clipping_norm), own=privacy.layer_norms)
        return CentralPerLayer(layers=layers, summands=self.setting.num_clients, **shared)


def check_law(setting: Setting) -> None:
    """Raise ConfigError for cohorts in which one client's retirement changes another's chance to be drawn."""
    kind = setting.sampler.law.kind
    if setting.client_budgets and kind not in ("poisson", "all"):
        raise ConfigError(
            f"privacy.client_budgets with privacy={setting.config.privacy.mechanism} needs clients that are drawn by "
            f"coins of their own, or all of them: use sampling=poisson or sampling=all, not sampling={kind}."
        )


def layer_norms(layout: ParameterLayout, *, norm: float, own: Mapping[str, float]) -> Sequence[LayerNorm]:
    """A clipping norm for the parameters of each module.

    Args:
        norm: of a whole update; each of L layers is clipped to ``norm / sqrt(L)``,
        own: unless a pattern (as ``fc1`` or ``conv*``) says otherwise; of several that match, the first.

    Raises:
        ConfigError: a pattern that no layer has.
    """
    sizes = [(name.rpartition(".")[0] or name, math.prod(shape)) for name, shape in _parameters(layout)]
    layers = [(name, sum(size for _, size in parts)) for name, parts in groupby(sizes, key=lambda part: part[0])]
    names = _told_apart([name for name, _ in layers])
    norms = norms_of_layers(names, norm=norm, own=own)
    return [
        LayerNorm(name=name, size=size, clipping_norm=norms[name])
        for name, (_, size) in zip(names, layers, strict=True)
    ]


def _parameters(layout: ParameterLayout) -> Sequence[tuple[str, tuple[int, ...]]]:
    return list(zip(layout.names, layout.shapes, strict=True))


def _told_apart(names: Sequence[str]) -> list[str]:
    """A module whose parameters lie in two places is two layers."""
    return [name if names.index(name) == i else f"{name} ({names[:i].count(name) + 1})" for i, name in enumerate(names)]
