"""Where jobs say how far they are, in whatever process or machine they run: a folder with a small file for each."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any, Literal

from filelock import FileLock

from fedpriv.records.atomic import write_json_atomic, writing

Status = Literal["waiting", "running", "done", "skipped", "busy", "failed", "interrupted"]
_PREFIX = ".sweep-"
_LOCK = "owner"


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
        """Say where job ``number`` is."""
        if self.folder.is_dir():
            write_json_atomic(self._file(number), asdict(state))

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
        rmtree(board.folder, ignore_errors=True)


def _remove_ownerless(output_dir: Path) -> None:
    """Boards of sweeps that were killed."""
    for lock in output_dir.glob(f"{_PREFIX}*/{_LOCK}"):
        with suppress(OSError), FileLock(lock, timeout=0):  # filelock's Timeout is an OSError
            rmtree(lock.parent, ignore_errors=True)
