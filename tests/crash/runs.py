"""Runs the command line in processes that can be killed, and compares what they leave behind.

Importing torch and Flower takes seconds, so that most processes are forked from a server that has done it
once. Each is a process of its own all the same: what is killed is really killed.
"""

import hashlib
import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from crash.sabotage import Deed, commit
from fedpriv.accounting.ledger import LedgerTables, ReleaseEntry
from fedpriv.records.tables import read_table

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["crash.warm"])
_SECONDS = 240

EVERY_ROUND = ("checkpoint_seconds", 0.0)
ONLY_ENDS = ("checkpoint_seconds", float("inf"))


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code (minus the signal that killed it), and what it printed."""

    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """The one line that a person is told when something is wrong."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("fedpriv: ")
        return lines[0]


class Process:
    """`fedpriv ARGV` in a warm process that leads its own process group."""

    def __init__(self, *argv: object, deeds: Sequence[Deed] = ()) -> None:
        self._printed, printing = zip(*(multiprocessing.Pipe(duplex=False) for _ in ("out", "err")), strict=True)
        self._process = _SERVER.Process(target=_main, args=([str(a) for a in argv], tuple(deeds), printing))
        with _tests_on_path():
            self._process.start()
        for pipe in printing:
            pipe.close()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def wait(self) -> Ended:
        self._process.join(_SECONDS)
        if self._process.exitcode is None:
            self._process.kill()
            raise AssertionError(f"still running after {_SECONDS} s")
        out, err = map(_everything, self._printed)
        return Ended(code=self._process.exitcode, out=out, err=err)


@contextmanager
def _tests_on_path() -> Iterator[None]:
    """For the server, which is started with the first process and asks nobody else where `crash` lies."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=os.pathsep)
        yield


def _everything(pipe: Connection) -> str:
    """All that was printed; workers that outlive their parent hold the pipe open, but not for long."""
    with open(os.dup(pipe.fileno()), encoding="utf-8") as file:
        pipe.close()
        return file.read()


def fedpriv(*argv: object, deeds: Sequence[Deed] = ()) -> Ended:
    """Run `fedpriv ARGV` in a warm process."""
    return Process(*argv, deeds=deeds).wait()


def here(*argv: object) -> Ended:
    """Run `fedpriv ARGV` in this process: for what trains nothing."""
    from fedpriv.cli import main

    out, err, handler = io.StringIO(), io.StringIO(), signal.getsignal(signal.SIGTERM)
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = main([str(a) for a in argv])
    finally:
        signal.signal(signal.SIGTERM, handler)
    return Ended(code=code, out=out.getvalue(), err=err.getvalue())


def plain_fedpriv(*argv: object) -> Ended:
    """Run `fedpriv ARGV` the way a person does."""
    done = subprocess.run(
        [sys.executable, "-m", "fedpriv", *map(str, argv)], capture_output=True, text=True, timeout=_SECONDS
    )
    return Ended(code=done.returncode, out=done.stdout, err=done.stderr)


def _main(argv: list[str], deeds: Sequence[Deed], printing: Sequence[Connection]) -> None:
    from fedpriv.cli import main

    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in a shell's background
    for stream, pipe in zip((sys.stdout, sys.stderr), printing, strict=True):
        os.dup2(pipe.fileno(), stream.fileno())
        pipe.close()
    commit(deeds)
    sys.exit(main(argv))


# -- what is left behind -----------------------------------------------------------------------------------


def only_run(output: Path) -> Path:
    """The one run folder below an output folder."""
    (folder,) = (path for path in output.glob("*/*") if path.is_dir())
    return folder


def run_json(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return record


def ledger(folder: Path) -> list[ReleaseEntry]:
    lines = (folder / "ledger.jsonl").read_text().splitlines()
    return list(LedgerTables().entries(map(json.loads, lines)))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class Result:
    """All of a finished run that a crash must not change: rounds less their seconds, diagnostics included.

    Tables are compared as text, where NaN is NaN.
    """

    model: str
    ledger: str
    metrics: str
    guarantee: str
    rounds: str
    clients: str

    @staticmethod
    def of(folder: Path) -> "Result":
        record = run_json(folder)
        assert record["error"] is None
        assert not (folder / "parts").exists(), "tables are merged at the end"
        return Result(
            model=sha256(folder / "model.safetensors"),
            ledger=sha256(folder / "ledger.jsonl"),
            metrics=json.dumps(record["metrics"], sort_keys=True),
            guarantee=json.dumps([record["status"], record["guarantee"]], sort_keys=True),
            rounds=repr(read_table(folder, "rounds").drop_columns(["seconds", "seconds_testing"]).to_pydict()),
            clients=repr(read_table(folder, "clients").to_pydict()),
        )


def snapshot(folder: Path) -> dict[str, tuple[int, str]]:
    """Time of change and content of every file but the lock."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, sha256(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def leftovers(folder: Path) -> list[str]:
    """Files that a write left half-done."""
    return [path.name for path in folder.rglob("*.tmp")]


def gone(pids: Sequence[int], *, within: float = 20.0) -> bool:
    """Whether all these processes end within so many seconds (a zombie has ended)."""
    end = time.monotonic() + within
    while any(map(_alive, pids)):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def group_members(group: int) -> list[int]:
    """Processes of a process group that are still running."""
    return [pid for pid in _processes() if _alive(pid) and _group(pid) == group]


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _group(pid: int) -> int | None:
    with suppress(ProcessLookupError):
        return os.getpgid(pid)
    return None


def _alive(pid: int) -> bool:
    with suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in "ZX"
    return False
