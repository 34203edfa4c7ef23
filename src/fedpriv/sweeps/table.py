"""How a sweep goes, for a person at a terminal (a table that lives) or reading a log (a line a change)."""

import threading
import time
from collections import Counter
from collections.abc import Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from fedpriv.accounting.printed import rounded_up
from fedpriv.sweeps.board import Board, JobState, Status
from fedpriv.sweeps.jobs import Job

_POLL_SECONDS = 0.5
_TOO_SHORT = 3.0  # seconds, to tell a pace
_SHOWN_FIRST: tuple[Status, ...] = ("running", "busy", "failed", "interrupted", "done", "skipped", "waiting")
_COLOURS = {"done": "green", "skipped": "green", "running": "cyan", "busy": "yellow", "failed": "red"}


class SweepTable:
    """Watches the board for as long as its block lasts.

    Args:
        total: jobs of the sweep, where it is known before they are.
    """

    def __init__(self, *, board: Board, console: Console, total: int | None) -> None:
        self._board, self._console, self._total = board, console, total
        self._jobs: list[Job] = []
        self._states: dict[int, JobState] = {}
        self._pace = Pace()
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> "SweepTable":
        if self._live is not None:
            self._live.start()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        self._look()
        if self._live is not None:
            self._live.stop()

    def add(self, jobs: Sequence[Job]) -> None:
        """Watch these, too."""
        with self._lock:
            self._jobs += jobs
            self._states |= {job.number: JobState(status="waiting") for job in jobs}

    def _watch(self) -> None:
        while not self._over.wait(_POLL_SECONDS):
            self._look()

    def _look(self) -> None:
        with self._lock:
            for job in self._jobs:
                before = self._states[job.number]
                if before.is_final:
                    continue
                now = self._states[job.number] = self._board.read(job.number)
                self._pace.saw(job.number, now)
                if self._live is None and now.status != before.status and now.status != "waiting":
                    self._console.print(f"{self._counts()}: {escape(job.label)}: {escape(in_words(now))}")
            if self._live is not None:
                self._live.update(self._drawn(), refresh=True)

    def _counts(self) -> str:
        ended = sum(state.is_final for state in self._states.values())
        return f"{ended}/{max(self._total or 0, len(self._jobs))}"

    def _drawn(self) -> Group:
        table = Table("run", "state", "result", "time", box=None, padding=(0, 2, 0, 0))
        room = max(4, self._console.height - 6)
        ordered = sorted(self._jobs, key=lambda job: _SHOWN_FIRST.index(self._states[job.number].status))
        shown = sorted(ordered[:room], key=lambda job: job.number)
        for job in shown:
            state = self._states[job.number]
            doing = Text(_doing(state), style=_COLOURS.get(state.status, ""))
            table.add_row(escape(job.label), doing, escape(_result(state)), _seconds(state))
        more = len(self._jobs) - len(shown)
        return Group(table, Text(f"... and {more} more" if more else ""), Text(self._summary()))

    def _summary(self) -> str:
        counts = Counter(state.status for state in self._states.values())
        told = [f"{counts[status]} {status}" for status in reversed(_SHOWN_FIRST) if counts[status]]
        left = self._pace.seconds_left(self._rounds_left())
        return f"{self._counts()}: {', '.join(told)}" + ("" if left is None else f"; about {_clock(left)} left")

    def _rounds_left(self) -> float:
        """Of all jobs, also of those that a search has yet to make up."""
        rounds = [job.config.rounds for job in self._jobs]
        states = [self._states[job.number] for job in self._jobs]
        left = sum(total - state.round for total, state in zip(rounds, states, strict=True) if not state.is_final)
        unknown = max(0, (self._total or 0) - len(rounds))
        return left + (unknown * sum(rounds) / len(rounds) if rounds else 0.0)


class Pace:
    """How fast rounds are trained: those of this sweep, since the first of them."""

    def __init__(self) -> None:
        self._first: dict[int, int] = {}  # the round from which a job is trained here
        self._trained: dict[int, int] = {}
        self._began: tuple[float, int] | None = None

    def saw(self, number: int, state: JobState) -> None:
        """Note how far a job is. What was trained before, by this or another process, took no time here."""
        if state.status not in ("running", "done") or (state.status == "running" and state.folder is None):
            return
        first = self._first.setdefault(number, state.round if state.status == "running" else 0)
        self._trained[number] = state.round - first
        if self._began is None and (trained := sum(self._trained.values())):
            self._began = time.monotonic(), trained

    def seconds_left(self, rounds: float) -> float | None:
        """For so many rounds; None: nothing is left, or too little was seen."""
        if self._began is None or rounds <= 0:
            return None
        since, before = self._began
        seconds, trained = time.monotonic() - since, sum(self._trained.values()) - before
        if seconds < _TOO_SHORT or trained <= 0:
            return None
        return seconds * rounds / trained


def in_words(state: JobState) -> str:
    """One line of a log."""
    found = [_doing(state), _result(state), _seconds(state)]
    return ", ".join(part for part in found if part)


def _doing(state: JobState) -> str:
    if state.status == "running":
        return f"round {state.round}/{state.rounds}" if state.round else "running"
    return {"skipped": "done before", "busy": "another process trains it"}.get(state.status, state.status)


def _result(state: JobState) -> str:
    if state.status == "failed":
        return state.error or ""
    if not state.has_result:
        return ""
    value = "" if state.value is None else f"{(state.headline or '').removeprefix('test_')} {state.value:.4f}, "
    return value + ("no guarantee" if state.epsilon is None else f"epsilon {rounded_up(state.epsilon)}")


def _seconds(state: JobState) -> str:
    return f"{state.seconds:.1f} s" if state.seconds else ""


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
