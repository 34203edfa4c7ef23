"""``privacy=example``: DP-SGD at every client, calibrated client by client."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, final

import numpy as np

from fedpriv.accounting.budget import Accounting
from fedpriv.accounting.calibration import calibrate_clients
from fedpriv.accounting.conventions import choose_accounting
from fedpriv.config import Config
from fedpriv.privacy import CohortSampler, Mechanism, PoissonBatches
from fedpriv.privacy.mechanisms import ExampleGaussian
from fedpriv.streams import Streams

from .choice import Setting, given


@final
@dataclass(frozen=True)
class ExampleLevel:
    """Every client has a rate, a number of steps and, unless shared, noise of its own."""

    setting: Setting

    @property
    def num_multipliers(self) -> int:
        return self.setting.data.num_clients

    @property
    def noisy_steps_per_round(self) -> Mapping[str, int]:
        taken = self._steps[self.setting.data.population_ids]
        return {"min": int(taken.min()), "max": int(taken.max())}

    def accounting(self, **asked: Any) -> Accounting:
        return choose_accounting(sampling="poisson", **asked)

    def calibrated(self, target_epsilon: float, accounting: Accounting) -> np.ndarray:
        counts, noise = self.setting.participations() * self._steps, np.full(self.num_multipliers, np.nan)
        for epsilon, clients in self.setting.targets(target_epsilon):
            noise[clients] = calibrate_clients(
                rates=self._rates[clients], counts=counts[clients], target_epsilon=epsilon, **asdict(accounting)
            )
        if self.setting.config.privacy.calibration == "shared":
            return np.full(self.num_multipliers, np.nanmax(noise))
        return noise

    def mechanism(self, noise_multipliers: np.ndarray, streams: Streams, sampler: CohortSampler) -> Mechanism:
        return ExampleGaussian(
            max_grad_norm=given(self.setting.config.privacy.max_grad_norm),
            rates=self._rates,
            steps=self._steps,
            noise_multipliers=noise_multipliers,
        )

    @cached_property
    def _rates(self) -> np.ndarray:
        batches = local_batches(self.setting.config)
        return np.array([batches.rate(n) for n in self.setting.data.client_sizes.tolist()])

    @cached_property
    def _steps(self) -> np.ndarray:
        batches = local_batches(self.setting.config)
        return np.array([batches.steps(n) for n in self.setting.data.client_sizes.tolist()], dtype=np.int64)


def local_batches(config: Config) -> PoissonBatches:
    """The batches of private local steps: what draws them is what the accountant is told."""
    return PoissonBatches(batch_size=config.training.batch_size, local_epochs=config.training.local_epochs)
