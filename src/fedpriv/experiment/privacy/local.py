"""``privacy=local_gaussian`` and ``local_laplace``: noisy reports, calibrated to how often each client sends one."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, final

import numpy as np

from fedpriv.accounting.budget import Accounting
from fedpriv.accounting.calibration import calibrate
from fedpriv.accounting.conventions import choose_accounting
from fedpriv.accounting.release import Composition, Release
from fedpriv.errors import ConfigError
from fedpriv.privacy import CohortSampler, Mechanism
from fedpriv.privacy.mechanisms import LocalGaussian, LocalLaplace
from fedpriv.streams import Streams

from .choice import Setting, given

_MOST_BINS = 24  # of clients that are calibrated together


@dataclass(frozen=True)
class _Local(ABC):
    """Every client has noise of its own."""

    setting: Setting

    @property
    def num_multipliers(self) -> int:
        return self.setting.data.num_clients

    @property
    def noisy_steps_per_round(self) -> Mapping[str, int]:
        return {"min": 1, "max": 1}

    def accounting(self, *, delta: float, relation: Any, accountant: Any) -> Accounting:
        """Who reports is seen, so nobody is added or removed; another report in its place hides what it says."""
        if relation == "add_or_remove_one":
            raise ConfigError(
                "privacy.relation=add_or_remove_one: the server sees who reports, which no noise hides. Use "
                "privacy.relation=replace_one (a client's data become any other) or zero_out (they become nothing)."
            )
        relation = "replace_one" if relation == "auto" else relation
        return choose_accounting(delta=delta, sampling="all", relation=relation, accountant=accountant)

    def calibrated(self, target_epsilon: float, accounting: Accounting) -> np.ndarray:
        counts, noise = self.setting.participations(), np.full(self.num_multipliers, math.nan)
        for epsilon, clients in self.setting.targets(target_epsilon):
            noise[clients] = self._calibrated(counts[clients], epsilon, accounting)
        if self.setting.config.privacy.calibration == "shared":
            noise[~np.isnan(noise)] = np.nanmax(noise)
        return noise

    def _calibrated(self, counts: np.ndarray, target_epsilon: float, accounting: Accounting) -> np.ndarray:
        """Of clients that report so often (int64, shape (n,)) and allow the same epsilon."""
        noise = np.full(len(counts), math.nan)
        different = np.unique(counts[counts > 0])
        if self.setting.config.privacy.calibration == "shared":
            different = different[-1:]
        lower = 0
        for members in np.array_split(different, max(1, min(len(different), _MOST_BINS))):
            most = int(members.max(initial=0))
            if most == 0:
                continue
            found = calibrate(
                target_epsilon=target_epsilon, release_at=partial(self._reports, times=most), **asdict(accounting)
            )
            noise[(counts > lower) & (counts <= most)] = found
            lower = most
        return noise

    def mechanism(self, noise_multipliers: np.ndarray, streams: Streams, sampler: CohortSampler) -> Mechanism:
        return self._made(
            clipping_norm=given(self.setting.config.privacy.clipping_norm),
            noise_multipliers=noise_multipliers,
            streams=streams,
        )

    def _reports(self, noise_multiplier: float, *, times: int) -> Composition:
        return {self._report(noise_multiplier): times}

    @abstractmethod
    def _made(self, **arguments: Any) -> Mechanism: ...

    @abstractmethod
    def _report(self, noise_multiplier: float) -> Release: ...


@final
class LocalGaussianReports(_Local):
    """``privacy=local_gaussian``."""

    def _made(self, **arguments: Any) -> Mechanism:
        return LocalGaussian(**arguments)

    def _report(self, noise_multiplier: float) -> Release:
        return LocalGaussian.report(noise_multiplier, 1.0)


@final
class LocalLaplaceReports(_Local):
    """``privacy=local_laplace``."""

    def _made(self, **arguments: Any) -> Mechanism:
        return LocalLaplace(**arguments)

    def _report(self, noise_multiplier: float) -> Release:
        return LocalLaplace.report(noise_multiplier, 1.0)
