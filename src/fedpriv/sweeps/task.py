"""What a launcher calls, in this process or another: one job of a sweep, which never raises."""

import os
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from filelock import Timeout

from fedpriv.errors import BusyRunError, FedprivError, InterruptedRunError, in_one_line
from fedpriv.records.environment import difference, package_versions, source_revision
from fedpriv.records.run_record import RunRecord
from fedpriv.sweeps.board import Board, JobState
from fedpriv.sweeps.jobs import Job
from fedpriv.tracking import Callback

_TELL_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Task:
    """Runs the job that ``config.job`` numbers; picklable.

    Args:
        fail_fast: whether a failed job keeps others from beginning.
        process: the process that launches.
        path: where that process finds modules.
    """

    jobs: Mapping[int, Job]
    board: Board
    fail_fast: bool
    process: int
    path: Sequence[str]

    def __call__(self, config: Any) -> JobState:
        if os.getpid() != self.process:
            warnings.filterwarnings("ignore")
            sys.path[:] = self.path  # `_target_` may name a module that only the launching process finds
        job = self.jobs[config.job]
        if self.board.stopped:
            return JobState(status="waiting")
        try:
            with self.board.at_work(job.number):
                state = self._run(job)
                self.board.tell(job.number, state)
        except Timeout:  # as where a launcher that had given up on a job starts it after all
            return self.board.read(job.number)
        if state.status == "interrupted" or (state.status == "failed" and self.fail_fast):
            self.board.stop()
        return state

    def _run(self, job: Job) -> JobState:
        from fedpriv import experiment

        reporter = BoardReporter(job=job, board=self.board)
        try:
            experiment.run(job.config, reporter=reporter)
        except BusyRunError as busy:
            return JobState(status="busy", folder=str(busy.path))
        except (InterruptedRunError, KeyboardInterrupt):
            return reporter.state.but(status="interrupted")
        except FedprivError as error:
            return reporter.state.but(status="failed", error=" ".join(str(error).split()))
        except Exception as error:
            return reporter.state.but(status="failed", error=in_one_line(error))
        return reporter.state


@final
class BoardReporter(Callback):
    """Tells the board how a run goes."""

    def __init__(self, *, job: Job, board: Board) -> None:
        self._job, self._board = job, board
        self._told_at = 0.0
        self.state = JobState(status="running", rounds=job.config.rounds)
        board.tell(job.number, self.state)

    def already_done(self, folder: Path, record: RunRecord) -> None:
        self._ended("skipped", folder, record, notes=trained_by_other_code(record))

    def started(self, folder: Path, *, rounds_done: int, last_round: int, notes: list[str]) -> None:
        notes = [*self.state.notes, *notes]
        self.state = self.state.but(folder=str(folder), round=rounds_done, rounds=last_round, notes=tuple(notes))
        self._board.tell(self._job.number, self.state)

    def round_done(self, row: Mapping[str, Any], failures: Mapping[int, str]) -> None:
        self.state = self.state.but(round=row["round"], epsilon=row["epsilon"])
        if time.monotonic() - self._told_at >= _TELL_SECONDS:
            self._told_at = time.monotonic()
            self._board.tell(self._job.number, self.state)

    def noted(self, text: str) -> None:
        self.state = self.state.but(notes=(*self.state.notes, text))

    def finished(self, folder: Path, record: RunRecord) -> None:
        self._ended("done", folder, record, notes=list(self.state.notes))

    def _ended(self, status: Any, folder: Path, record: RunRecord, *, notes: list[str]) -> None:
        task = record.extra.get("task", {})
        headline = task.get("headline", "test_accuracy")
        if record.status == "stopped_at_budget":
            notes.append(f"the budget ended it after {record.rounds} of {self._job.config.rounds} rounds")
        self.state = self.state.but(
            status=status,
            folder=str(folder),
            round=record.rounds,
            headline=headline,
            higher_is_better=task.get("higher_is_better", True),
            value=record.metrics.get(headline),
            epsilon=None if record.guarantee is None else record.guarantee["epsilon"],
            seconds=record.seconds,
            notes=tuple(notes),
        )


def trained_by_other_code(record: RunRecord) -> list[str]:
    """How the packages and the source that trained a finished run differ from those that are here."""
    then = {"packages": dict(record.packages), "revision": record.revision}
    now = {"packages": package_versions(), "revision": source_revision()}
    found = difference(then, now)
    return [f"trained by other code ({'; '.join(found)}); force=true trains it again"] if found else []
