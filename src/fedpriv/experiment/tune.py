"""Which tuning trains an experiment fastest on this machine: measured on scratch, one kind of key after another."""

import math
import secrets
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import nn

from fedpriv.config import Config
from fedpriv.errors import ConfigError
from fedpriv.experiment.assembly import Experiment
from fedpriv.experiment.interleaved import Races, Timed
from fedpriv.experiment.scratch import AS_IT_IS, Choice, Scratch
from fedpriv.training import Tuning

Tell = Callable[[float], None]
"""Is told, every now and then, how much of the time has passed, from 0 to 1."""

_MEASUREMENTS = 80  # that fit into the time, if each takes as long as the experiment as it is
_STACK_NUMBERS = 2**25  # parameters of the largest stack that is tried: twice what the rules allow
_NO_CHOICE = (
    "There is nothing to tune: the experiment says it all itself, or its model leaves no choice. What is to be "
    "measured must be left open: training.engine=auto, and null for the keys of tuning."
)


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
    def of(choice: Choice, timed: Timed, reference: Timed) -> "Row":
        ratios = timed.ratios(reference) or [timed.median / reference.median]
        return Row(
            overrides=choice.overrides,
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
    better = search(races, axes(experiment, scratch), until=seconds)
    if AS_IT_IS not in races.timed:
        raise ConfigError(_NO_CHOICE if races.complete else f"--seconds={seconds:g} are too few to measure anything.")
    reference = races.timed[AS_IT_IS]
    return Tuned(
        tuning=experiment.tuning,
        clients=scratch.num_clients,
        rows=[Row.of(choice, timed, reference) for choice, timed in races.timed.items()],
        better=better,
        complete=races.complete,
    )


Axis = Callable[[Choice], Sequence[Choice]]
"""From the best choice so far to others that differ in one kind of key."""


def search(races: Races[Choice], axes: Sequence[Axis], *, until: float) -> Row | None:
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


def axes(experiment: Experiment, scratch: Scratch) -> list[Axis]:
    """What may be said of the tuning where the experiment says nothing itself."""
    config, rules, formulation = experiment.config, experiment.tuning, experiment.formulation
    asked, model = config.tuning, experiment.new_model()
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    cohort = experiment.sampler(experiment.streams(None)).law.cohort
    # two chunks a worker at least: else some wait for others
    most = min(scratch.num_clients, cohort / (2 * experiment.workers), config.clients_per_node or math.inf)
    chunks = [rules.chunk_size]
    while asked.chunk_size is None and 2 * chunks[-1] <= most:
        chunks.append(2 * chunks[-1])

    def vectorized(choice: Choice) -> bool:
        return scratch.experiment(choice).tuning.engine == "vectorized"

    def engines(best: Choice) -> Sequence[Choice]:
        if config.training.engine != "auto" or formulation is None:
            return []
        names = ("vectorized", "opacus" if config.privacy.mechanism == "example" else "sgd")
        return [replace(best, engine=name) for name in names if name != rules.engine]

    def stacks(best: Choice) -> Sequence[Choice]:
        if asked.stack_size is not None or formulation is None or not formulation.side_by_side or not vectorized(best):
            return []
        sizes = [2**i for i in range(chunks[0].bit_length()) if 2**i < chunks[0]] + chunks
        largest = max(rules.stack_size, _STACK_NUMBERS // parameters)
        return [
            replace(best, stack_size=size, chunk_size=size if size > chunks[0] else None)
            for size in sorted(sizes, key=lambda size: abs(math.log(size / rules.stack_size)))
            if size <= largest and size != rules.stack_size
        ]

    def larger_chunks(best: Choice) -> Sequence[Choice]:
        if not vectorized(best):
            return []
        now = scratch.experiment(best).tuning
        return [replace(best, chunk_size=c, stack_size=now.stack_size) for c in chunks if c > now.chunk_size]

    def convolutions(best: Choice) -> Sequence[Choice]:
        exchanged = formulation is not None and not formulation.whole and vectorized(best)
        if asked.convolutions is not None or not exchanged or not _has(model, nn.Conv1d, nn.Conv2d):
            return []
        return [replace(best, convolutions="native" if rules.unfolded else "patches")]

    def memory_formats(best: Choice) -> Sequence[Choice]:
        if asked.memory_format is not None or not vectorized(best) or not _has(model, nn.Conv2d):
            return []
        return [replace(best, memory_format="contiguous" if rules.channels_last else "channels_last")]

    return [engines, stacks, larger_chunks, convolutions, memory_formats]


def _has(model: nn.Module, *kinds: type[nn.Module]) -> bool:
    return any(isinstance(layer, kinds) for layer in model.modules())


def _check(config: Config) -> None:
    if config.strategy.algorithm == "flower":
        raise ConfigError(
            "With strategy=flower there is nothing to tune: every client is a node of its own, and none trains beside "
            "another."
        )
    if config.training.function is not None:
        raise ConfigError("With training.function there is nothing to tune: it trains as it likes, client by client.")
