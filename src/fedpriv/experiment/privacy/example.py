"""``privacy=example``: DP-SGD at every client, calibrated client by client."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, final

import numpy as np

from fedpriv.accounting.budget import Accounting
from fedpriv.accounting.calibration import calibrate_clients
from fedpriv.accounting.conventions import choose_accounting
from fedpriv.config import Config, PrivacyConfig
from fedpriv.privacy import CohortSampler, Mechanism, PoissonBatches
from fedpriv.privacy.mechanisms import ExampleGaussian
from fedpriv.streams import Streams
from fedpriv.training.layer_clipping import layers_of

from .choice import Setting, given
from .layer_norms import norms_of_layers


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
        gradient_norm(self.setting.config.privacy, self.setting.layout.names)  # refuses layers that there are not
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
            max_grad_norm=gradient_norm(self.setting.config.privacy, self.setting.layout.names),
            layer_norms=gradient_layers(self.setting.config.privacy, self.setting.layout.names),
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


def gradient_norm(privacy: PrivacyConfig, parameters: Sequence[str]) -> float:
    """L2 bound of one example's whole gradient."""
    norms = gradient_layers(privacy, parameters)
    return math.hypot(*norms.values()) if norms else given(privacy.max_grad_norm)


def gradient_layers(privacy: PrivacyConfig, parameters: Sequence[str]) -> dict[str, float]:
    """Layer -> L2 bound of its part of an example's gradient; none where gradients are clipped as a whole.

    Args:
        parameters: names of all that learn.
    """
    if not privacy.layer_norms:
        return {}
    return norms_of_layers(layers_of(parameters), norm=given(privacy.max_grad_norm), own=privacy.layer_norms)


def local_batches(config: Config) -> PoissonBatches:
    """The batches of private local steps: what draws them is what the accountant is told."""
    return PoissonBatches(batch_size=config.training.batch_size, local_epochs=config.training.local_epochs)
