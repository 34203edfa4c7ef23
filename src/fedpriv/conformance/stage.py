"""Plants contributions in coordinates of their own, so that what they move can be told from the noise."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from .subject import SERVER, Release, Report, Round, SamplesCohorts, Script, Subject

READ = 3  # planted coordinates that properties read
ASIDE = np.array([0.0, 0.0, 0.0, 1e-3])  # a contribution to none of them; zero would be a case of its own
_PLANTED = len(ASIDE)
_PLAYS = 400
_SURE = 6.0  # standard errors
_EXAMPLES = 9
_SAME_SIZE = 1e-3
FINE, COARSE = 120, 1  # rows of each layer: enough noise for a percent, or just enough to tell it from what moved


class BrokenReleaseError(Exception):
    """A release that nothing can be read from."""


def along(value: float, axis: int = 0) -> np.ndarray:
    """A contribution of this size along one planted coordinate."""
    part = np.zeros(_PLANTED)
    part[axis] = value
    return part


def across(value: float) -> np.ndarray:
    """A contribution of this norm along all planted coordinates that are read, which several parameters hold."""
    part = np.zeros(_PLANTED)
    part[:READ] = value / math.sqrt(READ)
    return part


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A subject, and parameters for it to move.

    The first four coordinates, of two parameters, take what is planted. The rest, two layers of the same shape and a
    bias, stay zero in what is planted unless it is ``dense``, so that they show the noise alone.

    Args:
        rows: of each layer, 100 wide.
        scalars: the planted parameters are 0-d, and so are 60 of the rest.
        integers: a further int64 parameter, shape (3,), which is neither planted nor rest.
    """

    subject: Subject
    rows: int
    scalars: bool = False
    integers: bool = False
    _references: dict[tuple[tuple[int, ...], int], Release] = field(default_factory=dict)

    @cached_property
    def start(self) -> Mapping[str, np.ndarray]:
        shapes: dict[str, tuple[int, ...]] = {"planted.0": (2,), "planted.1": (_PLANTED - 2,)}
        if self.scalars:
            shapes = {f"planted.{i}": () for i in range(_PLANTED)}
        shapes |= {"layer": (self.rows, 100), "other": (self.rows, 100), "bias": (100,)}
        if self.scalars:
            shapes |= {f"scalar.{i}": () for i in range(60)}
        start = {name: np.zeros(shape, dtype=np.float32) for name, shape in shapes.items()}
        return {**start, "counter": np.zeros(3, dtype=np.int64)} if self.integers else start

    @property
    def parameters(self) -> Mapping[str, slice]:
        """Parameter -> its part of a release."""
        found, begin = {}, 0
        for name, value in self.start.items():
            found[name] = slice(begin, begin + value.size)
            begin += value.size
        return found

    @property
    def rest(self) -> slice:
        end = self.parameters["counter"].start if self.integers else None
        return slice(_PLANTED, end)

    # -- planting ------------------------------------------------------------------------------------------

    def round(
        self,
        parts: Sequence[np.ndarray | None],
        *,
        lost: Collection[int] = (),
        examples: Mapping[int, int] | None = None,
        dense: float | Mapping[int, float] = 0.0,
        counted: Mapping[int, float] | None = None,
    ) -> Round:
        """What each unit contributes.

        Args:
            parts: unit j's contribution, shape (4,); None: it is not asked (an example: not there).
            lost: units that are asked and do not arrive.
            examples: unit -> number of examples that it says it has, where it is another than the others'.
            dense: norm of what every unit, or each of these, adds along the rest.
            counted: unit -> what it adds to the integers.
        """
        along_rest = (lambda unit: dense.get(unit, 0.0)) if isinstance(dense, Mapping) else lambda unit: dense
        asked = [unit for unit, part in enumerate(parts) if part is not None]
        reports = tuple(
            Report(
                client=unit if self._by_client else 0,
                update=self._update(part, along_rest(unit), (counted or {}).get(unit, 0.0)),
                num_examples=(examples or {}).get(unit, _EXAMPLES),
            )
            for unit, part in enumerate(parts)
            if part is not None and unit not in lost
        )
        return Round(asked=tuple(asked) if self._by_client else (0,), reports=reports)

    def ordinary(self, *, dense: float = 0.0) -> Round:
        """Everybody contributes a little."""
        return self.round([ASIDE] * self.units, dense=dense)

    @property
    def units(self) -> int:
        return self.subject.claim.cohort

    @property
    def most(self) -> int:
        """As many units as a round may have: twice the expected ones, where their number is by chance."""
        claim, subject = self.subject.claim, self.subject
        if not of_server(subject) or "add_or_remove_one" not in claim.sensitivity:
            return claim.cohort
        if not isinstance(subject, SamplesCohorts):
            return 2 * claim.cohort
        law = subject.accounted_sampling
        return max(claim.cohort, min(2 * claim.cohort, law.population, law.cap or law.population))

    @property
    def fixed(self) -> bool:
        """Whether the clipping norm is, and with it the noise."""
        return self.subject.claim.target_quantile is None

    @property
    def _by_client(self) -> bool:
        return self.subject.claim.unit == "client"

    def _update(self, part: np.ndarray, dense: float, counted: float) -> dict[str, np.ndarray]:
        planted = {"planted.0": part[:2], "planted.1": part[2:]}
        if self.scalars:
            planted = {f"planted.{i}": part[i] for i in range(_PLANTED)}
        others = [name for name in self.start if name not in planted and name != "counter"]
        size = sum(self.start[name].size for name in others)
        value = dense / math.sqrt(size)
        update = {name: np.asarray(values, dtype=np.float64) for name, values in planted.items()}
        update |= {name: np.full(self.start[name].shape, value) for name in others}
        if self.integers:
            update["counter"] = np.full(3, counted)
        return update

    # -- playing -------------------------------------------------------------------------------------------

    def play(self, rounds: Sequence[Round], *, seed: int) -> Sequence[Release]:
        """Raises BrokenReleaseError for what is not finite."""
        releases = self.subject.play(Script(start=self.start, rounds=tuple(rounds)), seed=seed)
        if not all(np.isfinite(moved).all() for release in releases for moved in release.values()):
            raise BrokenReleaseError("a release held NaN or infinity")
        return releases

    def noises(self, rounds: Sequence[Round], *, seed: int) -> np.ndarray:
        """Noise of the last round, whatever moved: shape (releasers, d), from two plays that differ in their coins."""
        first, second = (self.play(rounds, seed=s)[-1] for s in (seed, seed + 1))
        return np.stack([(first[k] - second[k]) / math.sqrt(2) for k in sorted(first)])

    def moved(self, *rounds: Round) -> Mapping[int, np.ndarray]:
        """Releaser -> what the last round moved, noise apart: along the coordinates to be read, then along the rest.

        The rest is left out where clipping adapts, and where coins do not repeat. There nothing may be ``dense``.
        """
        if not self.coins_repeat:
            plays = [self.play(rounds, seed=seed)[-1] for seed in range(_PLAYS)]
            return {k: np.mean([play[k][:READ] for play in plays], axis=0) for k in plays[0]}
        release, reference = self.play(rounds, seed=0)[-1], self._reference(rounds)
        fixed, dense = self.fixed, any(report.update["bias"].any() for report in rounds[-1].reports)
        found = {}
        for k, movement in release.items():
            noise, rest = reference[k][self.rest], movement[self.rest]
            if noise.any() and not movement.any():
                raise BrokenReleaseError("nothing is released, or without noise, because of what one unit sends")
            scale = 1.0 if dense or not noise.any() else float(rest @ noise / (noise @ noise))
            if not dense and not np.allclose(rest, scale * noise, rtol=0, atol=1e-3 * _rms(noise)):
                raise BrokenReleaseError("the noise of the same coins depends on what clients send, in more than size")
            if fixed and abs(scale - 1) > _SAME_SIZE:
                raise BrokenReleaseError(f"noise has {scale:.4g} times its size because of what clients send")
            read = movement[:READ] - scale * reference[k][:READ]
            found[k] = np.concatenate([read, rest - noise]) if fixed else read
        return found

    def difference(self, left: Sequence[Round], right: Sequence[Round]) -> float:
        """L2 distance of what two histories moved in their last round, over all releasers."""
        first, second = self.moved(*left), self.moved(*right)
        return float(np.linalg.norm([first[k] - second[k] for k in first if k in second]))

    @cached_property
    def coins_repeat(self) -> bool:
        """Whether the same seed gives the same noise."""
        first, second = (self.play([self.ordinary()], seed=0)[0] for _ in range(2))
        return all(np.array_equal(first[k], second[k]) for k in first)

    @property
    def slack(self) -> float:
        """By how much a measured movement may exceed a claimed one: rounding, and what averages leave open."""
        claim = self.subject.claim
        rounding = 1e-4 * max(claim.sensitivity.values(), default=0.0) + 1e-5 * claim.noise_std
        return rounding if self.coins_repeat else rounding + _SURE * claim.noise_std * math.sqrt(2 / _PLAYS)

    def _reference(self, rounds: Sequence[Round]) -> Release:
        """The last round's noise under the same coins: nobody contributes where it is read."""
        last = rounds[-1]
        aside = self._update(ASIDE, 0.0, 0.0)
        reports = [Report(client=r.client, update=aside, num_examples=_EXAMPLES) for r in last.reports]
        if not reports and last.asked:
            reports = [Report(client=last.asked[0], update=aside, num_examples=_EXAMPLES)]
        quiet = Round(asked=last.asked, reports=tuple(reports))
        if len(rounds) > 1:
            return self.play([*rounds[:-1], quiet], seed=0)[-1]
        key = quiet.asked, len(reports)
        if key not in self._references:
            self._references[key] = self.play([quiet], seed=0)[0]
        return self._references[key]


def of_server(subject: Subject) -> bool:
    """Whether one release is made of all units' contributions."""
    return subject.claim.noise_by == "server"


def noise_of(release: Release, stage: Stage) -> np.ndarray:
    """What the rest shows of the first releaser."""
    return np.asarray(release[SERVER if SERVER in release else min(release)][stage.rest])


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2))) if values.size else 0.0
