"""``privacy=distributed``: shares of the noise, calibrated to the client that takes part most often."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np

from fedpriv.accounting.budget import Accounting
from fedpriv.accounting.calibration import calibrate
from fedpriv.accounting.conventions import choose_accounting
from fedpriv.errors import ConfigError
from fedpriv.privacy import CohortSampler, Mechanism
from fedpriv.privacy.mechanisms import DistributedGaussian
from fedpriv.privacy.pairwise_masks import PairwiseMasks
from fedpriv.streams import Streams, seed_key

from .choice import Setting, given


@final
@dataclass(frozen=True)
class Shares:
    """One noise for all: that of a secure sum."""

    setting: Setting

    @property
    def num_multipliers(self) -> int:
        return 1

    @property
    def noisy_steps_per_round(self) -> Mapping[str, int]:
        return {"min": 1, "max": 1}

    def accounting(self, *, delta: float, relation: Any, accountant: Any) -> Accounting:
        """Who takes part is seen: nobody is added or removed. By default its data become nothing, as in the paper."""
        if relation == "add_or_remove_one":
            raise ConfigError(
                "privacy.relation=add_or_remove_one: the server sees who takes part, which no noise hides. Use "
                "privacy.relation=zero_out (a client's data become nothing) or replace_one (they become any other)."
            )
        self._check_cohorts()
        relation = "zero_out" if relation == "auto" else relation
        return choose_accounting(delta=delta, sampling="all", relation=relation, accountant=accountant)

    def calibrated(self, target_epsilon: float, accounting: Accounting) -> np.ndarray:
        most = int(self.setting.participations().max())
        silent = self._made(0.0, Streams(keys={"masks": seed_key(0)}))  # nothing is drawn from it
        noise = calibrate(
            release_at=lambda z: {silent.release(z, 1.0): most},
            target_epsilon=target_epsilon,
            **asdict(accounting),
        )
        return np.array([noise])

    def mechanism(self, noise_multipliers: np.ndarray, streams: Streams, sampler: CohortSampler) -> Mechanism:
        made = self._made(float(noise_multipliers[0]), streams)
        if math.isfinite(made.noise_multiplier) and not made.has_room:
            raise ConfigError(
                f"privacy.granularity={made.granularity} is too fine: sums of {made.cohort} clients do not fit "
                f"privacy.bits={made.secure_sum.bits} then. Leave it out (null), or use more bits."
            )
        return made

    def _check_cohorts(self) -> None:
        """Shares are made for cohorts of one size, which no turn and no cap may change."""
        sampler, rounds = self.setting.sampler, self.setting.config.rounds
        law = sampler.law
        even = law.kind in ("all", "fixed_size", "round_robin") and law.cohort == int(law.cohort)
        if even and law.kind != "all":
            even = all(len(sampler.cohort(round_number)) == law.cohort for round_number in range(1, rounds + 1))
        if not even:
            raise ConfigError(
                f"sampling={law.kind} makes cohorts of unlike sizes here, but shares of noise are made for one: use "
                "sampling=auto, fixed_size or all, and no sampling.participation_cap."
            )

    def _made(self, noise_multiplier: float, streams: Streams) -> DistributedGaussian:
        privacy, cohort = self.setting.config.privacy, round(self.setting.sampler.law.cohort)
        return DistributedGaussian(
            clipping_norm=given(privacy.clipping_norm),
            size=self.setting.layout.size,
            cohort=cohort,
            survivors=max(1, math.ceil((1 - given(privacy.tolerated_dropout)) * cohort)),
            granularity=privacy.granularity,
            num_clients=self.setting.data.num_clients,
            noise_multiplier=noise_multiplier,
            secure_sum=PairwiseMasks(bits=int(given(privacy.bits)), streams=streams),
            streams=streams,
        )
