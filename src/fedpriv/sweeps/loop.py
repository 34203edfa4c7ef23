"""Launches jobs until each has ended: those that another process trains are come back to."""

import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fedpriv.errors import in_one_line
from fedpriv.records.run_folder import RunFolder
from fedpriv.sweeps.board import Board, JobState
from fedpriv.sweeps.hydra_plugins import HydraPlugins
from fedpriv.sweeps.jobs import Job
from fedpriv.sweeps.table import SweepTable
from fedpriv.sweeps.task import Task

_WAIT_SECONDS = 0.5


class Loop:
    """Runs batches of jobs.

    Args:
        fail_fast: begin no job after one has failed.
    """

    def __init__(self, *, board: Board, plugins: HydraPlugins, fail_fast: bool, table: SweepTable) -> None:
        self._board, self._plugins, self._fail_fast, self._table = board, plugins, fail_fast, table
        self._lost: dict[int, JobState] = {}  # what a job's own process cannot tell
        self.jobs: list[Job] = []

    def run(self, jobs: Sequence[Job]) -> list[JobState]:
        """Run these; returns how each ended, waiting where ``fail_fast`` kept it from beginning.

        A job whose process ended without a word, as one that ran out of memory, is started once more: by itself, since
        launchers end a process's neighbours with it.

        Raises:
            KeyboardInterrupt: one was interrupted.
        """
        self.jobs += jobs
        self._table.add(jobs)
        open_jobs = {job.number: job for job in jobs}
        suspects = set[int]()
        while open_jobs and not self._board.stopped:
            together = {number: job for number, job in open_jobs.items() if number not in suspects}
            alone = [{number: job} for number, job in open_jobs.items() if number in suspects]
            for batch in ([together] if together else []) + alone:
                if not self._board.stopped:
                    suspects |= self._start(batch, again=suspects)
            open_jobs = {number: job for number, job in open_jobs.items() if not self.state(number).is_final}
            self._wait([self.state(number) for number in open_jobs])
        return [self.state(job.number) for job in jobs]

    def state(self, number: int) -> JobState:
        """How a job ended, or how far it is."""
        return self._lost.get(number) or self._board.read(number)

    def _start(self, jobs: Mapping[int, Job], *, again: set[int]) -> set[int]:
        """Launch these and wait for their processes; returns those whose process ended without a word."""
        said = self._launch(jobs)
        while any(self._board.is_at_work(number) for number in jobs):  # a launcher that gave up left them
            time.sleep(_WAIT_SECONDS)
        states = {number: self._board.read(number) for number in jobs}
        if any(state.status == "interrupted" for state in states.values()):
            raise KeyboardInterrupt
        for number, state in states.items():
            if state.status in ("running", "busy") and state.folder is not None:
                jobs[number].config.force = False  # the run has begun: from now on it is gone on with
        if self._board.stopped:
            return set()
        lost = {number for number, state in states.items() if state.status == "running"}
        unheard = {number for number, state in states.items() if state.status == "waiting"}
        if said is None:
            lost |= unheard
        elif not lost:
            self._fail(unheard, states, said)
        self._fail(lost & again, states, "its process ended without a word; a lack of memory often does that")
        return lost

    def _fail(self, numbers: Iterable[int], states: Mapping[int, JobState], error: str) -> None:
        for number in numbers:
            self._lost[number] = states[number].but(status="failed", error=error)
            self._board.tell(number, self._lost[number])
            if self._fail_fast:
                self._board.stop()

    def _launch(self, jobs: Mapping[int, Job]) -> str | None:
        """What the launcher itself failed of, if it did."""
        task = Task(jobs=jobs, board=self._board, fail_fast=self._fail_fast, process=os.getpid(), path=tuple(sys.path))
        try:
            self._plugins.launch(task, list(jobs))
        except Exception as error:
            return f"the launcher failed: {in_one_line(error)}"
        return None

    def _wait(self, states: Sequence[JobState]) -> None:
        """Until a run that other processes train is free, where nothing else is left to do."""
        folders = [RunFolder(Path(state.folder)) for state in states if state.status == "busy" and state.folder]
        if len(folders) < len(states):
            return
        while folders and all(folder.is_busy() for folder in folders):
            time.sleep(_WAIT_SECONDS)
