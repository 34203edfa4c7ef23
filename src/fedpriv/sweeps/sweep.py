"""Many runs from one command: expanded, checked, launched, waited for, told."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from fedpriv.config import dump
from fedpriv.errors import ConfigError
from fedpriv.sweeps.board import JobState, board_in
from fedpriv.sweeps.expansion import Words, grid, probes
from fedpriv.sweeps.hydra_plugins import hydra_plugins
from fedpriv.sweeps.jobs import Compose, Job, JobMaker, distinct
from fedpriv.sweeps.loop import Loop
from fedpriv.sweeps.search import Search
from fedpriv.sweeps.table import SweepTable

_SHARES_THE_MACHINE = ("joblib", "submitit_local")
_TYPED_IN = re.compile(r"_target_: (__main__\.\S+)")


@dataclass(frozen=True, kw_only=True)
class Swept:
    """How each job of a sweep ended."""

    jobs: tuple[Job, ...]
    states: tuple[JobState, ...]
    is_search: bool

    @property
    def failed(self) -> list[tuple[Job, JobState]]:
        return [(job, state) for job, state in zip(self.jobs, self.states, strict=True) if state.status == "failed"]

    @property
    def folders(self) -> list[Path]:
        """Of the runs that left one."""
        return [Path(state.folder) for state in self.states if state.folder is not None]


def sweep(overrides: Sequence[str], *, compose: Compose, fail_fast: bool, console: Console) -> Swept:
    """Run every job of a sweep that has not been run, one failed job or not.

    Args:
        overrides: as of ``fedpriv run``, with several values where it shall sweep; and hydra/launcher, hydra/sweeper.
        compose: from one job's overrides to its config.
        fail_fast: begin no job after one has failed.

    Raises:
        ConfigError: a job cannot be run as asked. Nothing was written. (A sweeper that searches has made up
            its values only as it goes: then what has ended stays.)
        KeyboardInterrupt: all can be gone on with by the same call.
    """
    words = Words.of(overrides)
    searches = words.sweeper != "basic"
    if searches and not words.swept:
        raise ConfigError(
            f"hydra/sweeper={words.sweeper} needs values to choose from, e.g. privacy.epsilon=interval(1,8)."
        )
    maker = JobMaker(fixed=words.fixed, compose=compose, workers=1 if words.launcher in _SHARES_THE_MACHINE else None)
    jobs = maker.make(probes(words.swept) if searches else grid(words.swept), first=0)
    _refuse_what_is_typed_in(words, jobs)
    output_dir = Path(jobs[0].config.output_dir)
    plugins = hydra_plugins(words, logs=output_dir)
    with board_in(output_dir) as board:
        plugins = plugins.leaving_in(board.folder)
        search = Search(plugins=plugins, swept=words.swept, probes=jobs) if searches else None
        table = SweepTable(board=board, console=console, total=plugins.trials if searches else None)
        loop = Loop(board=board, plugins=plugins, fail_fast=fail_fast, table=table)
        with table:
            if search is None:
                loop.run(distinct(jobs))
            else:
                search.run(lambda combinations: loop.run(maker.make(combinations, first=len(loop.jobs))))
        states = tuple(loop.state(job.number) for job in loop.jobs)
        return Swept(jobs=tuple(loop.jobs), states=states, is_search=searches)


def _refuse_what_is_typed_in(words: Words, jobs: Sequence[Job]) -> None:
    """What lies in no module is known to no process that a launcher starts."""
    for job in jobs:
        if words.launcher != "basic" and (found := _TYPED_IN.search(dump(job.config))):
            raise ConfigError(
                f"{found[1]} was typed in, and hydra/launcher={words.launcher} runs jobs in other processes, which do "
                "not have it. Put it into a module, or leave the launcher out."
            )
