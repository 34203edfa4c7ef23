"""The jobs of a sweep: each one experiment, composed and checked as ``fedpriv run`` would, before any is trained."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from fedpriv.config import Config
from fedpriv.errors import ConfigError

Compose = Callable[[Sequence[str]], Config]
"""From overrides to a checked config."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One experiment of a sweep.

    Args:
        number: its place in the sweep, from 0.
        label: what tells it from the others, e.g. ``privacy.epsilon=1 seed=0``.
    """

    number: int
    label: str
    config: Config


@dataclass(frozen=True, kw_only=True)
class JobMaker:
    """Makes jobs from combinations of swept values.

    Args:
        fixed: overrides of all jobs.
        workers: of a job that says none itself; it changes no result.
    """

    fixed: Sequence[str]
    compose: Compose
    workers: int | None

    def make(self, combinations: Iterable[Sequence[str]], *, first: int) -> list[Job]:
        """A job for each, numbered from ``first``.

        Raises:
            ConfigError: one cannot be run as asked; which is said.
        """
        return [self._job(number, swept) for number, swept in enumerate(combinations, start=first)]

    def _job(self, number: int, swept: Sequence[str]) -> Job:
        label = " ".join(swept) or "the one run"
        try:
            config = self.compose([*self.fixed, *swept])
        except ConfigError as error:
            said = str(error)
            raise ConfigError(said if said.startswith(label) else f"{label}: {said}") from None
        if config.workers is None:
            config.workers = self.workers
        for tracker in config.tracking.values():
            if swept and tracker.get("parent", "") is None:
                tracker["parent"] = f"sweep {config.name}"  # the same when it is gone on with, or extended
        return Job(number=number, label=label, config=config)


def distinct(jobs: Sequence[Job]) -> list[Job]:
    """Those whose config no earlier one has, as ``privacy.epsilon=8,8.0`` would give."""
    found: list[Job] = []
    seen: set[str] = set()
    for job in jobs:
        if (text := repr(job.config)) not in seen:
            seen.add(text)
            found.append(job)
    return found
