"""What a run tells while it trains: to the terminal, to a sweep's table, to trackers, to a callback of your own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from fedpriv.records.run_record import RunRecord


@runtime_checkable
class Callback(Protocol):
    """Is told how a run goes; changes nothing.

    A subclass overrides what it wants to hear. Everything else lies in the run's folder, whose ``config.yaml`` is
    there from ``started`` on (``fedpriv.tracking.settings`` reads it). What is named ``diagnostic_*`` was measured on
    training data, and no guarantee covers it.
    """

    def already_done(self, folder: Path, record: RunRecord) -> None:
        """Nothing is trained: the run was finished before; the only hook then."""
        return  # so that no hook is abstract

    def started(self, folder: Path, *, rounds_done: int, last_round: int, notes: list[str]) -> None:
        """Training begins after round ``rounds_done`` (0: anew), and goes to ``last_round``."""
        return

    def noted(self, text: str) -> None:
        """Something that a person should know, such as a tracker that failed."""
        return

    def round_done(self, row: Mapping[str, Any], failures: Mapping[int, str]) -> None:
        """A round was trained.

        Args:
            row: of the rounds table: ``round``, ``epsilon`` (an upper bound of what is spent so far; None: no claim),
                ``test_*`` where the round was tested, ``diagnostic_*``, and others.
            failures: client id -> why it failed.
        """
        return

    def finished(self, folder: Path, record: RunRecord) -> None:
        """All rounds, or all that the budget allows, are trained, and all files written."""
        return

    def stopped(self, folder: Path, record: RunRecord) -> None:
        """The run ended before its last round: ``record.status`` and ``record.error`` say why. It can be resumed."""
        return
