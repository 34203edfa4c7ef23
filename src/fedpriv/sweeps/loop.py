"""Launches jobs until each has ended: those that another process trains are come back to."""

import os
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from fedpriv.errors import in_one_line
from fedpriv.records.run_folder import RunFolder
from fedpriv.sweeps.board import Board, JobState
from fedpriv.sweeps.hydra_plugins import HydraPlugins
from fedpriv.sweeps.jobs import Job
from fedpriv.sweeps.table import SweepTable
from fedpriv.sweeps.task import Task

_WAIT_SECONDS = 0.5
_STARTS = 2
"""Of a job whose process ends without a word, as one that ran out of memory."""


class Loop:
    """Runs batches of jobs.

    Args:
        fail_fast: begin no job after one has failed.
    """

    def __init__(self, *, board: Board, plugins: HydraPlugins, fail_fast: bool, table: SweepTable) -> None:
        self._board, self._plugins, self._fail_fast, self._table = board, plugins, fail_fast, table
        self.jobs: list[Job] = []

    def run(self, jobs: Sequence[Job]) -> list[JobState]:
        """Run these; returns how each ended, waiting where ``fail_fast`` kept it from beginning.

        Raises:
            KeyboardInterrupt: one was interrupted.
        """
        self.jobs += jobs
        self._table.add(jobs)
        starts: Counter[int] = Counter()
        open_jobs = {job.number: job for job in jobs}
        while open_jobs and not self._board.stopped:
            said = self._launch(open_jobs)
            states = {number: self._board.read(number) for number in open_jobs}
            if any(state.status == "interrupted" for state in states.values()):
                raise KeyboardInterrupt
            lost = [number for number, state in states.items() if state.status == "running"]
            starts.update(lost)
            ended = [number for number in lost if starts[number] >= _STARTS]
            if said is not None and not lost:
                ended = [number for number, state in states.items() if state.status == "waiting"]
            for number in ended:
                error = said or "its process ended without a word; a lack of memory often does that"
                self._board.tell(number, states[number].but(status="failed", error=error))
            if ended and self._fail_fast:
                self._board.stop()
            open_jobs = {n: job for n, job in open_jobs.items() if n not in ended and not states[n].is_final}
            self._wait([states[number] for number in open_jobs])
        return [self._board.read(job.number) for job in jobs]

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
