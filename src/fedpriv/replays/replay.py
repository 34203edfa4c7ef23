"""Make a finished run again from its folder alone, and say whether every file comes out the same."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedpriv.errors import BudgetExhaustedError, InputError, InterruptedRunError
from fedpriv.experiment import train_again
from fedpriv.records.run_folder import RunFolder
from fedpriv.replays.comparison import BOOKKEEPING, LEFT_OUT, LEFT_OUT_IF_INTERRUPTED, Compared, Difference, compare
from fedpriv.replays.decisions import was_interrupted
from fedpriv.replays.origin import Origin
from fedpriv.tracking import Callback


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What a replay found."""

    lines: tuple[str, ...]
    """All that was told, in order: what is no longer as it was, each file, what was left out, the verdict."""
    differences: tuple[Difference, ...]
    """The first one of each file that differs."""

    @property
    def holds(self) -> bool:
        """Whether every file came out the same."""
        return not self.differences

    def __str__(self) -> str:
        return "\n".join(self.lines)


def replay(path: Path, *, keep: Path | None, reporter: Callback, tell: Callable[[str], None]) -> Replayed:
    """Train the run in ``path`` again, into a scratch folder, and compare.

    ``output_dir``, ``force`` and trackers of its config have no effect.

    Args:
        keep: where the replay is left, as ``keep/<name>/<run id>``; None: nowhere.
        tell: is given each line as soon as it is known; what is no longer as it was before training.

    Raises:
        InputError: it cannot be replayed, with the reason.
        InterruptedRunError: stopped by Ctrl-C.
    """
    told: list[str] = []

    def say(line: str) -> None:
        told.append(line)
        tell(line)

    origin = Origin.of(RunFolder(path))
    for change in origin.changes():
        say(f"Not as it was: {change}.")
    with _scratch(keep) as scratch:
        replayed = RunFolder(Path(scratch) / origin.record.name / origin.run_id)
        if replayed.path.exists():
            raise InputError(f"{replayed.path} exists already: choose another --keep DIR.")
        try:
            train_again(origin.experiment, replayed.path, reporter=_RoundsOnly(reporter))
        except BudgetExhaustedError as error:
            raise InputError(f"{path} cannot be replayed here: {error}") from error
        except InterruptedRunError as error:
            raise InterruptedRunError("Interrupted: nothing was compared.") from error
        files = []
        for file in compare(origin.folder, replayed):
            files.append(file)
            say(f"the same  {file.file}" if file.difference is None else f"DIFFERS   {file.difference}")
        for line in _not_compared(origin.folder):
            say(line)
        say(_verdict(files))
        if keep is not None:
            say(f"Kept in {replayed.path}")
    return Replayed(lines=tuple(told), differences=tuple(f.difference for f in files if f.difference is not None))


def _scratch(keep: Path | None) -> AbstractContextManager[Any]:
    return tempfile.TemporaryDirectory(prefix="fedpriv-replay-") if keep is None else nullcontext(keep)


def _not_compared(run: RunFolder) -> Iterator[str]:
    interrupted = was_interrupted(run.audit)
    for file in dict.fromkeys([*LEFT_OUT, *(LEFT_OUT_IF_INTERRUPTED if interrupted else ())]):
        names = [*LEFT_OUT.get(file, ()), *(LEFT_OUT_IF_INTERRUPTED.get(file, ()) if interrupted else ())]
        yield f"left out  {file}: {', '.join(names)}"
    if interrupted:
        yield "          (the run was interrupted and went on, and its replay was not)"
    known = {run.config, run.rounds, run.clients, run.model, run.ledger, run.audit, run.run_json, run.checkpoint}
    known |= {run.guarantee_json, run.guarantee_md}
    if not run.checkpoint.exists():
        yield "left out  checkpoint: removed from the run's folder"
    if others := sorted(path.name for path in run.path.iterdir() if path not in known and path.name not in BOOKKEEPING):
        yield f"left out  {', '.join(others)}: not part of the result"


def _verdict(files: list[Compared]) -> str:
    unlike = [file.difference for file in files if file.difference is not None]
    if not unlike:
        return f"IDENTICAL: all {len(files)} files came out the same."
    told = f"DIFFERENT: {len(unlike)} of {len(files)} files did not come out the same"
    if all(difference.provenance for difference in unlike):
        return f"{told}, but only in the packages or the revision that they name: the results are the same."
    return f"{told}."


@dataclass(frozen=True)
class _RoundsOnly(Callback):
    """Tells how training goes, and not what it came to: that is the run's to say."""

    reporter: Callback

    def started(self, folder: Path, *, rounds_done: int, last_round: int, notes: list[str]) -> None:
        self.reporter.started(folder, rounds_done=rounds_done, last_round=last_round, notes=[])

    def noted(self, text: str) -> None:
        self.reporter.noted(text)

    def round_done(self, row: Mapping[str, Any], failures: Mapping[int, str]) -> None:
        self.reporter.round_done(row, failures)
