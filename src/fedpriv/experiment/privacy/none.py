"""``privacy=none``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from fedpriv.accounting.budget import Accounting
from fedpriv.accounting.conventions import choose_accounting
from fedpriv.accounting.sampling import ACCOUNTED_AS
from fedpriv.privacy import CohortSampler, Mechanism
from fedpriv.privacy.mechanisms import NoPrivacy
from fedpriv.streams import Streams

from .choice import Setting


@final
@dataclass(frozen=True)
class Nothing:
    """Nobody is protected, and nothing is claimed."""

    setting: Setting

    @property
    def num_multipliers(self) -> int:
        return 0

    @property
    def noisy_steps_per_round(self) -> Mapping[str, int]:
        return {"min": 0, "max": 0}

    def accounting(self, **asked: Any) -> Accounting:
        return choose_accounting(sampling=ACCOUNTED_AS[self.setting.sampler.law.kind], **asked)

    def calibrated(self, target_epsilon: float, accounting: Accounting) -> np.ndarray:
        return np.zeros(0)

    def mechanism(self, noise_multipliers: np.ndarray, streams: Streams, sampler: CohortSampler) -> Mechanism:
        return NoPrivacy()
