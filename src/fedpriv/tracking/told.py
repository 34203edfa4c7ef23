"""One run tells many: the reporter of whoever started it, and the trackers of its config."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from fedpriv.records.run_record import RunRecord
from fedpriv.tracking.callback import Callback
from fedpriv.tracking.isolation import Isolated, LeftOutError
from fedpriv.tracking.sharing import shared_record, shared_row


class Told:
    """A callback that passes on what it is told: as it is to the reporter, copies to trackers.

    A tracker that fails is noted and left out. The reporter has the last word, so trackers hear of the end before it.

    Args:
        secret: whether the noise is, so that trackers get only what is meant for others than the curator.
    """

    def __init__(self, *, reporter: Callback, trackers: Sequence[Isolated], secret: bool) -> None:
        self._reporter, self._trackers, self._secret = reporter, list(trackers), secret
        self._has_started = False

    def already_done(self, folder: Path, record: RunRecord) -> None:
        self._tell("already_done", folder, self._of(record))
        self._close()
        self._reporter.already_done(folder, record)

    def started(self, folder: Path, *, rounds_done: int, last_round: int, notes: list[str]) -> None:
        self._has_started = True
        self._reporter.started(folder, rounds_done=rounds_done, last_round=last_round, notes=notes)
        self._tell("started", folder, rounds_done=rounds_done, last_round=last_round, notes=notes)

    def noted(self, text: str) -> None:
        self._reporter.noted(text)
        self._tell("noted", text)

    def round_done(self, row: Mapping[str, Any], failures: Mapping[int, str]) -> None:
        self._reporter.round_done(row, failures)
        if self._secret:
            self._tell("round_done", shared_row(row), {})
        else:
            self._tell("round_done", row, failures)

    def finished(self, folder: Path, record: RunRecord) -> None:
        self._tell("finished", folder, self._of(record))
        self._close()
        self._reporter.finished(folder, record)

    def stopped(self, folder: Path, record: RunRecord) -> None:
        if self._has_started:
            self._tell("stopped", folder, self._of(record))
        self._close()
        self._reporter.stopped(folder, record)

    def _of(self, record: RunRecord) -> RunRecord:
        return shared_record(record) if self._secret else record

    def _tell(self, hook: str, *arguments: object, **named: object) -> None:
        for tracker in list(self._trackers):
            try:
                tracker.tell(hook, *deepcopy(arguments), **deepcopy(named))
            except LeftOutError as error:
                self._trackers.remove(tracker)
                tracker.close()
                self._reporter.noted(f"tracker {tracker.name} failed, and is left out from here on: {error}")

    def _close(self) -> None:
        for tracker in self._trackers:
            tracker.close()
