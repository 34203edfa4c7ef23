"""A mechanism in numpy that does what it claims, and can be told not to: each property must see both."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fedpriv.accounting.ledger import ReleaseEntry
from fedpriv.accounting.sampled_gaussian import SampledGaussian
from fedpriv.accounting.sampling import CohortSampling
from fedpriv.conformance.subject import SERVER, Claim, LocalSteps, Release, Report, Script

STEPS, EXAMPLE_RATE = 4, 0.25


@dataclass(kw_only=True)
class Toy:
    """Clips client updates, sums, adds noise, divides by the public cohort; with ``adaptive``, as Andrew et al.

    Args:
        faults: name -> value; the names are those that the methods below ask for.
    """

    faults: Mapping[str, Any] = field(default_factory=dict)
    noise_multiplier: float = 0.8
    clipping_norm: float = 0.5
    units: int = 10
    adaptive: bool = False
    name: str = "toy"

    @property
    def claim(self) -> Claim:
        once = self.clipping_norm / self.units
        return Claim(
            unit="client",
            sensitivity={"add_or_remove_one": once, "zero_out": once, "replace_one": 2 * once},
            noise_std=self.noise_multiplier * once,
            noise_law=self.faults.get("claimed_law", "gaussian"),
            noise_by="server",
            cohort=self.units,
            survivors=None,
            target_quantile=0.5 if self.adaptive else None,
        )

    # -- rounds --------------------------------------------------------------------------------------------

    def play(self, script: Script, *, seed: int) -> Sequence[Release]:
        return self._rounds(script, seed=seed)[0]

    def clipping_norms(self, script: Script, *, seed: int) -> Sequence[float]:
        return self._rounds(script, seed=seed)[1]

    def _rounds(
        self, script: Script, *, seed: int, first: int = 1, attempt: int = 0, bound: float | None = None
    ) -> tuple[list[Release], list[float]]:
        bounds = [self.clipping_norm if bound is None else bound]
        releases: list[Release] = []
        for number, round_ in enumerate(script.rounds, start=first):
            if self.faults.get("fails_on_empty") and not round_.reports:
                raise ZeroDivisionError("nobody is there")
            vectors = [self._vector(script, report) for report in round_.reports]
            after = self._next(bounds[-1], vectors) if self.adaptive else bounds[-1]
            size = sum(value.size for value in script.start.values())
            total = np.zeros(size)
            for vector, report in zip(vectors, round_.reports, strict=True):
                total += self._clipped(vector, bounds[-1], script) * self._weight(report)
            noised = after if self.faults.get("noise_of_updated_norm") else bounds[-1]
            total += self._noise(script, noised, seed=seed, number=number, attempt=attempt, size=size)
            divisor = max(1, len(vectors)) if self.faults.get("divides_by_arrivals") else self.units
            if self.faults.get("weighs_by_examples"):
                divisor = sum(r.num_examples for r in round_.reports) or 1
            if self.faults.get("noise_for_the_planned_cohort"):  # on the mean of those who arrived
                noise = self._noise(script, noised, seed=seed, number=number, attempt=attempt, size=size)
                total += noise * (max(1, len(vectors)) / self.units - 1)
            releases.append({SERVER: total / divisor})
            bounds.append(after)
        return releases, bounds

    def _weight(self, report: Report) -> float:
        return report.num_examples if self.faults.get("weighs_by_examples") else 1.0

    def _vector(self, script: Script, report: Report) -> np.ndarray:
        return np.concatenate([np.ravel(report.update[name]) for name in script.start])

    def _clipped(self, vector: np.ndarray, bound: float, script: Script) -> np.ndarray:
        parts = [np.full(value.size, value.ndim == 0) for value in script.start.values()]
        free = np.concatenate(parts) if self.faults.get("scalars_unclipped") else np.zeros(vector.size, dtype=bool)
        integers = np.concatenate([np.full(v.size, v.dtype.kind == "i") for v in script.start.values()])
        kept = np.where(integers, 0.0, vector)
        norm = float(np.linalg.norm(np.where(free, 0.0, kept)))
        if not np.isfinite(vector).all():
            return vector if self.faults.get("lets_nan_pass") else np.zeros_like(vector)
        if self.faults.get("clips_each_coordinate"):
            clipped = np.clip(kept, -bound, bound)
        elif norm:
            clipped = kept * min(1.0, bound * self.faults.get("clips_too_late", 1.0) / norm)
        elif self.faults.get("divides_by_norm"):
            clipped = kept * np.nan
        else:
            clipped = kept
        clipped = np.where(free, kept, clipped)
        return np.where(integers, vector, clipped) if self.faults.get("integers_leave") else clipped

    def _next(self, bound: float, vectors: Sequence[np.ndarray]) -> float:
        if not vectors:
            return bound
        unclipped = float(np.mean([np.linalg.norm(v) <= bound for v in vectors]))
        sign = -1.0 if self.faults.get("wrong_sign") else 1.0
        return bound * math.exp(-sign * 0.2 * (unclipped - 0.5))

    def _noise(
        self, script: Script, bound: float, *, seed: int, number: int, attempt: int, size: int
    ) -> np.ndarray:
        key = [seed % 2**32 if self.faults.get("seed_of_32_bits") else seed, number, attempt]
        if self.faults.get("same_noise_each_round"):
            key[1] = 0
        if self.faults.get("same_noise_after_resume"):
            key[2] = 0
        if self.faults.get("seed_plus_round"):
            key[:2] = [seed + number, 0]
        rng = np.random.default_rng(key)
        std = self.noise_multiplier * bound * self.faults.get("noise_factor", 1.0)
        law = self.faults.get("law", "gaussian")
        if law == "laplace":
            noise = rng.laplace(scale=std / math.sqrt(2), size=size)
        elif law == "uniform":
            noise = rng.uniform(-std * math.sqrt(3), std * math.sqrt(3), size=size)
        else:
            noise = rng.normal(scale=std, size=size)
        if law == "cut":
            noise = np.clip(noise, -3 * std, 3 * std)
        offset = 0
        for name, value in script.start.items():
            here = slice(offset, offset + value.size)
            if value.dtype.kind == "i" or name == self.faults.get("not_noised"):
                noise[here] = 0
            if name == "other" and self.faults.get("layers_share_noise"):
                noise[here] = noise[offset - value.size : offset]
            offset += value.size
        if self.faults.get("coins_of_the_system"):
            noise = np.random.default_rng().normal(scale=std, size=size)
        return noise

    # -- ledger --------------------------------------------------------------------------------------------

    def play_resumed(
        self, before: Script, after: Script, *, seed: int
    ) -> tuple[Sequence[Release], Sequence[ReleaseEntry]]:
        first, _ = self._rounds(before, seed=seed)
        second, _ = self._rounds(after, seed=seed, first=len(before.rounds), attempt=1)
        entries = [self._entry(number, 0) for number in range(1, len(before.rounds) + 1)]
        again = [self._entry(number, 1) for number in range(len(before.rounds), len(before.rounds) + len(after.rounds))]
        return [*first, *second], again if self.faults.get("ledger_lost") else entries + again

    def _entry(self, number: int, attempt: int) -> ReleaseEntry:
        return ReleaseEntry(
            mechanism="toy",
            unit="client",
            round=number,
            attempt=attempt,
            noise_law="gaussian",
            sensitivity=self.clipping_norm,
            sampling="poisson",
            population=50,
            cohort=0,
            turn=None,
            clients="commitment",
            rate=self.units / 50,
            noise_multiplier=self.noise_multiplier,
            noise_std=self.noise_multiplier * self.clipping_norm,
            steps=1,
            group=None,
        )

    # -- cohorts -------------------------------------------------------------------------------------------

    @property
    def accounted_sampling(self) -> CohortSampling:
        return self.faults.get("law_of_cohorts", law("poisson"))

    def cohort(self, round_number: int, *, seed: int) -> np.ndarray:
        rng, kind = np.random.default_rng([seed, round_number]), self.faults.get("draws", self.accounted_sampling.kind)
        everybody = np.arange(50)
        if kind == "fixed_size":
            return np.sort(rng.choice(50, size=self.units, replace=False))
        if kind == "all":
            return everybody
        if kind == "round_robin":
            return everybody[everybody % 5 == (round_number - 1) % 5]
        if kind == "early_again":
            return everybody[everybody % 4 == (round_number - 1) % 4]
        if kind == "pairs":  # neighbours share a coin
            return everybody[np.repeat(rng.random(25), 2) < self.units / 50]
        if kind == "same_twice":
            return everybody[np.random.default_rng([seed, round_number // 2]).random(50) < self.units / 50]
        if kind == "favourites":
            return everybody[rng.random(50) < np.where(everybody < 25, 0.3, 0.1)]
        if kind == "too_often":
            return everybody[rng.random(50) < 0.25]
        if kind == "turns_of_coins":
            turn = everybody[everybody % 5 == (round_number - 1) % 5]
            return turn[rng.random(10) < 0.5]
        drawn = everybody[rng.random(50) < self.units / 50]
        capped = kind == "capped_poisson" and len(drawn) > 12
        return np.sort(rng.choice(drawn, size=12, replace=False)) if capped else drawn

    # -- local steps ---------------------------------------------------------------------------------------

    def local_steps(self, *, rounds: int, seed: int) -> Sequence[LocalSteps]:
        rng, event = np.random.default_rng(seed), self.faults.get("event", "charged_when_asked")
        found = []
        for _ in range(rounds):
            asked = rng.random() < 0.2
            rate = 2 * EXAMPLE_RATE if event == "batches_twice_as_large" else EXAMPLE_RATE
            included = rng.random(STEPS) < rate if asked else np.zeros(0, dtype=bool)
            charged = {} if event == "unpaid" else {_step(EXAMPLE_RATE): STEPS} if asked else {}
            if event == "client_rate_times_example_rate":
                charged = {_step(0.2 * EXAMPLE_RATE): STEPS}
            found.append(LocalSteps(included=included, charged=charged))
        return found


def _step(rate: float) -> SampledGaussian:
    return SampledGaussian(noise_multiplier=0.8, sampling="poisson", rate=rate, population=0, cohort=0)


def law(kind: Any, *, separation: int = 1, cap: int = 0, cohort: float = 10) -> CohortSampling:
    return CohortSampling(kind=kind, population=50, cohort=cohort, separation=separation, cap=cap)
