"""``privacy=both_units``: the example-level half, whose clients are drawn by coins that nobody may see."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, final

import numpy as np

from fedpriv.accounting.budget import Accounting
from fedpriv.errors import ConfigError
from fedpriv.privacy import Mechanism
from fedpriv.streams import Streams

from .choice import Setting
from .example import ExampleLevel


def as_example_level(setting: Setting) -> Setting:
    """The setting as ``privacy=example`` would see it: with the epsilon, delta and noise asked for examples."""
    privacy = setting.config.privacy
    halved = replace(
        privacy,
        mechanism="example",
        epsilon=privacy.example_epsilon,
        delta=privacy.example_delta,
        noise_multiplier=privacy.example_noise_multiplier,
    )
    return replace(setting, config=replace(setting.config, privacy=halved))


@final
@dataclass(frozen=True)
class ExampleUnderClient:
    """As ``privacy=example``, with every client's noise calibrated to the most participations that are allowed.

    Not to those that the schedule holds for it: noise that tells of coins yet to come would void the amplification that
    the client level is accounted with.
    """

    setting: Setting

    @property
    def num_multipliers(self) -> int:
        return self._alone.num_multipliers

    @property
    def noisy_steps_per_round(self) -> Mapping[str, int]:
        return self._alone.noisy_steps_per_round

    def accounting(self, **asked: Any) -> Accounting:
        return self._alone.accounting(**asked)

    def calibrated(self, target_epsilon: float, accounting: Accounting) -> np.ndarray:
        cap = self.setting.participation_cap
        if cap is None:
            raise ConfigError("privacy=both_units needs a cap on every client's participations.")
        return self._alone.calibrated_for(np.full(self.num_multipliers, cap), target_epsilon, accounting)

    def mechanism(self, noise_multipliers: np.ndarray, streams: Streams) -> Mechanism:
        return self._alone.mechanism(noise_multipliers, streams)

    @cached_property
    def _alone(self) -> ExampleLevel:
        return ExampleLevel(self.setting)
