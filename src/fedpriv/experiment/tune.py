"""Which tuning trains an experiment fastest on this machine: measured on scratch, one kind of key after another."""

import secrets
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fedpriv.config import Config
from fedpriv.errors import ConfigError
from fedpriv.experiment.assembly import Experiment
from fedpriv.experiment.interleaved import Races, Timed
from fedpriv.experiment.scratch import AS_IT_IS, Scratch, overrides
from fedpriv.experiment.tuning_axes import Axes, Axis
from fedpriv.training import Tuning, Wishes

Tell = Callable[[float], None]
"""Is told, every now and then, how much of the time has passed, from 0 to 1."""

_MEASUREMENTS = 80  # that fit into the time, if each takes as long as the experiment as it is


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was measured of one choice.

    Attributes:
        overrides: what it says beside the experiment; empty for the experiment as it is.
        seconds: median over its repeats.
        ratio: to the experiment as it is, median over the repeats that both took part in; with least and most.
    """

    overrides: dict[str, str | int]
    seconds: float
    ratio: float
    least: float
    most: float
    repeats: int

    @staticmethod
    def of(choice: Wishes, timed: Timed, reference: Timed) -> "Row":
        ratios = timed.ratios(reference) or [timed.median / reference.median]
        return Row(
            overrides=overrides(choice),
            seconds=timed.median,
            ratio=statistics.median(ratios),
            least=min(ratios),
            most=max(ratios),
            repeats=len(timed.seconds),
        )


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What measuring has found.

    Attributes:
        tuning: of the experiment as it is.
        clients: trained in each measurement.
        rows: of every choice, the experiment as it is first.
        better: the choice that beats the experiment as it is by more than the spread, measured again; None: none does.
        complete: whether there was time for all of it.
    """

    tuning: Tuning
    clients: int
    rows: Sequence[Row]
    better: Row | None
    complete: bool

    @property
    def overrides(self) -> list[str]:
        """What to say for the better one, as on the command line; empty where there is none."""
        return [] if self.better is None else [f"{key}={value}" for key, value in self.better.overrides.items()]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "overrides": self.overrides}


def tune(config: Config, *, seconds: float, tell: Tell) -> Tuned:
    """Measure in about so many seconds. Nothing is released, and nothing written.

    Raises:
        InputError: as ``run``; or nothing to tune.
        FedprivError: no client can be trained.
    """
    _check(config)
    experiment = Experiment.assemble(config)
    scratch = Scratch(experiment, key=secrets.token_bytes(32))
    began = time.monotonic()

    def clock() -> float:
        passed = time.monotonic() - began
        tell(min(1.0, passed / seconds))
        return passed

    scratch.shorten(seconds / _MEASUREMENTS)
    races = Races(prepare=scratch.prepare, clock=clock)
    better = search(races, Axes(experiment, scratch).in_turn, until=seconds)
    if AS_IT_IS not in races.timed:
        too_short = f"--seconds={seconds:g} are too few to measure anything."
        raise ConfigError(_no_choice(experiment) if races.complete else too_short)
    reference = races.timed[AS_IT_IS]
    return Tuned(
        tuning=experiment.tuning,
        clients=scratch.num_clients,
        rows=[Row.of(choice, timed, reference) for choice, timed in races.timed.items()],
        better=better,
        complete=races.complete,
    )


def search(races: Races[Wishes], axes: Sequence[Axis], *, until: float) -> Row | None:
    """One axis after another from the experiment as it is; the best is then measured once more, beside it.

    The choice among many flatters the one that is chosen: only the last race says whether it is better.
    """
    best = AS_IT_IS
    for left, axis in zip(range(len(axes) + 1, 1, -1), axes, strict=True):
        standing = list(dict.fromkeys([AS_IT_IS, best]))
        others = [choice for choice in axis(best) if choice not in standing]
        if not others:
            continue
        found = races.race([*standing, *others], standing=len(standing), until=races.part_of(until, left))
        winner = min(found, key=lambda choice: found[choice].median, default=best)
        if best in found and found[winner].beats(found[best]):
            best = winner
    if best == AS_IT_IS:
        return None
    found = races.race([AS_IT_IS, best], standing=2, until=until)
    if AS_IT_IS not in found or best not in found or not found[best].beats(found[AS_IT_IS]):
        return None
    return Row.of(best, found[best], found[AS_IT_IS])


def _no_choice(experiment: Experiment) -> str:
    if experiment.config.training.engine in ("auto", "vectorized") and experiment.not_vectorized is not None:
        return f"There is nothing to tune: clients train one after another, since {experiment.not_vectorized}."
    return (
        "There is nothing to tune: the experiment says it all itself. What is to be measured must be left open: "
        "training.engine=auto, and null for the keys of tuning."
    )


def _check(config: Config) -> None:
    if config.strategy.algorithm == "flower":
        raise ConfigError(
            "With strategy=flower there is nothing to tune: every client is a node of its own, and none trains beside "
            "another."
        )
    if config.training.function is not None:
        raise ConfigError("With training.function there is nothing to tune: it trains as it likes, client by client.")
