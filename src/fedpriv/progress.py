"""How a run goes, for a person at a terminal or reading a log."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fedpriv.accounting.printed import upwards
from fedpriv.records.run_record import RunRecord
from fedpriv.reports.show import headline

_LOG_SECONDS = 5.0
_NAMED_FAILURES = 3


class TerminalReporter:
    """A bar with round, loss, accuracy, epsilon and time left; in a log, a line every few seconds."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._bar: Progress | None = None
        self._last_round = 0
        self._logged_at = 0.0
        self._failed = 0

    def say(self, line: str) -> None:
        """One line as it is, above the bar."""
        self._console.print(escape(line))

    def already_done(self, folder: Path, record: RunRecord) -> None:
        self._console.print("Already done; force=true trains it again.")
        self.finished(folder, record)

    def started(self, folder: Path, *, rounds_done: int, last_round: int, notes: list[str]) -> None:
        self._last_round = last_round
        self._console.print(f"Run folder: {escape(str(folder))}")
        for note in notes:
            self._console.print(f"Note: {escape(note)}")
        if rounds_done:
            self._console.print(f"Going on after round {rounds_done}.")
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("round"),
                MofNCompleteColumn(),
                BarColumn(),
                TextColumn("{task.fields[numbers]}"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._bar.start()
            self._bar.add_task("rounds", total=last_round, completed=rounds_done, numbers="")

    def round_done(self, row: Mapping[str, Any], failures: Mapping[int, str]) -> None:
        for client, text in sorted(failures.items()):
            self._failed += 1
            if self._failed <= _NAMED_FAILURES:
                self._console.print(f"Round {row['round']}: client {client} failed: {escape(text)}")
        if row.get("aborted"):
            self._console.print(
                f"Round {row['round']} was aborted: {row['replied']} of {row['cohort']} answered, fewer than the noise "
                "was made for. Nothing was released; the round stays paid for."
            )
        numbers = _numbers(row)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=row["round"], numbers=numbers)
        elif time.monotonic() - self._logged_at >= _LOG_SECONDS or row["round"] == self._last_round:
            self._logged_at = time.monotonic()
            self._console.print(f"round {row['round']}/{self._last_round}  {numbers}")

    def finished(self, folder: Path, record: RunRecord) -> None:
        self.close()
        if self._failed > _NAMED_FAILURES:
            self._console.print(f"{self._failed} failures of clients in all; audit.jsonl has each.")
        for line in headline(record):
            self._console.print(escape(line))
        self._console.print(f"Run folder: {escape(str(folder))}")

    def noted(self, text: str) -> None:
        self._console.print(f"Note: {escape(text)}")

    def stopped(self, folder: Path, record: RunRecord) -> None:
        self.close()  # whoever called says why

    def close(self) -> None:
        """Give the terminal back."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _numbers(row: Mapping[str, Any]) -> str:
    headline = next((name for name in row if name.startswith("test_")), "test_loss")
    shown = {
        "loss": row["diagnostic_train_loss"],
        headline.removeprefix("test_"): row.get(headline),
    }
    told = [f"{name} {value:.3f}" for name, value in shown.items() if value is not None]
    spent = [] if row["epsilon"] is None else [f"epsilon <= {upwards(row['epsilon'], 4)}"]
    return "  ".join([*told, *spent])
