"""Where jobs say how far they are, in whatever process or machine they run: a folder with a small file for each."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any, Literal

from filelock import FileLock, Timeout

from fedpriv.errors import FedprivError
from fedpriv.records.atomic import write_json_atomic, writing

Status = Literal["waiting", "running", "done", "skipped", "busy", "failed", "interrupted"]
_PREFIX = ".sweep-"
_LOCK = "owner"
_GONE = "-gone"
_OLD_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class JobState:
    """How far a job is.

    ``skipped``: finished before. ``busy``: another process is training that run. ``value`` is of the metric named
    ``headline``; ``epsilon`` None: nothing is claimed.
    """

    status: Status
    folder: str | None = None
    round: int = 0
    rounds: int = 0
    headline: str | None = None
    higher_is_better: bool = True
    value: float | None = None
    epsilon: float | None = None
    seconds: float = 0.0
    error: str | None = None
    notes: Sequence[str] = ()

    @property
    def is_final(self) -> bool:
        return self.status in ("done", "skipped", "failed")

    @property
    def has_result(self) -> bool:
        return self.status in ("done", "skipped")

    def but(self, **changes: Any) -> "JobState":
        return replace(self, **changes)


@dataclass(frozen=True)
class Board:
    """A folder that every job's process can write to. Where it says stop, or is gone, no more jobs begin."""

    folder: Path

    def tell(self, number: int, state: JobState) -> None:
        """Say where job ``number`` is. A full disk, or a sweep that is over, is no reason for a run to fail."""
        with suppress(FedprivError):
            write_json_atomic(self._file(number), asdict(state))

    @contextmanager
    def at_work(self, number: int) -> Iterator[None]:
        """While this process does job ``number``.

        Raises:
            Timeout: another one does.
        """
        with ExitStack() as held:
            if self.folder.is_dir():  # else the lock would make it
                try:
                    held.enter_context(self._lock(number))
                except Timeout:
                    raise
                except OSError:  # a full disk
                    pass
            yield

    def is_at_work(self, number: int) -> bool:
        """Whether a process does job ``number``, as far as can be told."""
        if not self.folder.is_dir():
            return False
        try:
            with self._lock(number):
                return False
        except Timeout:
            return True
        except OSError:
            return False

    def read(self, number: int) -> JobState:
        """Where job ``number`` is."""
        try:
            return JobState(**json.loads(self._file(number).read_bytes()))
        except FileNotFoundError:
            return JobState(status="waiting")

    def stop(self) -> None:
        """Have no further job begin."""
        if self.folder.is_dir():
            (self.folder / "stop").touch()

    @property
    def stopped(self) -> bool:
        return not self.folder.is_dir() or (self.folder / "stop").exists()

    def _lock(self, number: int) -> FileLock:
        return FileLock(self.folder / f"{number}.lock", timeout=0)

    def _file(self, number: int) -> Path:
        return self.folder / f"{number}.json"


@contextmanager
def board_in(output_dir: Path) -> Iterator[Board]:
    """A board below ``output_dir``, where runs lie, since every process can reach it there; gone after the block."""
    with writing(output_dir):
        output_dir.mkdir(parents=True, exist_ok=True)
        _remove_ownerless(output_dir)
        board = Board(Path(mkdtemp(prefix=_PREFIX, dir=output_dir)).resolve())
    try:
        with FileLock(board.folder / _LOCK):
            yield board
    finally:
        _remove(board.folder)


def _remove(folder: Path) -> None:
    """At once for everybody: jobs that are still queued find no board, and do not begin."""
    with suppress(OSError):
        folder = folder.rename(folder.with_name(folder.name + _GONE))
    rmtree(folder, ignore_errors=True)


def _remove_ownerless(output_dir: Path) -> None:
    """Boards of sweeps that were killed."""
    for folder in output_dir.glob(f"{_PREFIX}*"):
        lock = folder / _LOCK
        with suppress(OSError):  # filelock's Timeout is one
            if lock.exists():
                with FileLock(lock, timeout=0):
                    _remove(folder)
            elif folder.name.endswith(_GONE) or time.time() - folder.stat().st_mtime > _OLD_SECONDS:
                rmtree(folder, ignore_errors=True)
