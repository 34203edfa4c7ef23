"""A small process that starts the SuperLink, and ends all that comes of it when its own parent is gone.

Flower and Ray start a dozen processes, some of which leave their parents. This one adopts them (PR_SET_CHILD_SUBREAPER,
Linux), so that whatever was started, and nothing else, descends from it.
"""

import ctypes
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_GRACE_SECONDS = 1.0
_POLL_SECONDS = 0.1
LAST_WORDS = "fedpriv ends what it started"
"""A line of the log, after which only endings are told."""


def main(*, alive: int, folder: str, port: int, superlink: Sequence[str], run: Sequence[str]) -> None:
    """Serve until the parent is gone, or one of the two commands has ended.

    Args:
        alive: descriptor of a pipe that nobody writes to, and that closes with the parent.
        folder: removed at the end.
        port: of the SuperLink: when it answers, ``run`` may start.
        superlink, run: commands.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    parent = os.getppid()

    def wanted() -> bool:
        return not select.select([alive], [], [], _POLL_SECONDS)[0] and os.getppid() == parent

    def start(command: Sequence[str]) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=end_with_me)

    def end_with_me() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)  # should this process be killed

    try:
        _serve(start(superlink), lambda: start(run), port=port, wanted=wanted)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print(f"\n{LAST_WORDS}", flush=True)
        end_descendants()
        shutil.rmtree(folder, ignore_errors=True)


def _serve(
    superlink: "subprocess.Popen[bytes]",
    start_run: Callable[[], "subprocess.Popen[bytes]"],
    *,
    port: int,
    wanted: Callable[[], bool],
) -> None:
    while not _answers(port):
        if not wanted() or superlink.poll() is not None:
            return
    run = start_run()
    while wanted() and superlink.poll() is None and run.poll() is None:
        pass


def _answers(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def end_descendants() -> None:
    """Ask all to end, and kill those that do not."""
    _signal(signal.SIGTERM)
    end = time.monotonic() + _GRACE_SECONDS
    while descendants() and time.monotonic() < end:
        _reap()
        time.sleep(0.05)
    while descendants():  # one that is killed may have started another
        _signal(signal.SIGKILL)
        _reap()
        time.sleep(0.05)
    end = time.monotonic() + _GRACE_SECONDS
    while _reap() and time.monotonic() < end:  # a large process takes a moment to give its memory back
        time.sleep(0.02)


def descendants() -> list[int]:
    """Process ids of all that this process has started, directly or not, and that have not ended."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                children.setdefault(int(parent), []).append(int(stat.parent.name))
    found, unseen = [], [os.getpid()]
    while unseen:
        new = children.get(unseen.pop(), [])
        found += new
        unseen += new
    return found


def kill_all_of(folder: Path) -> None:
    """For the parent of a supervisor that was killed: end what is left of the simulation in ``folder``."""
    mark = f"FLWR_HOME={folder}/".encode()
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark in environ.read_bytes():
                os.kill(int(environ.parent.name), signal.SIGKILL)


def _signal(number: signal.Signals) -> None:
    for pid in descendants():
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _reap() -> bool:
    """Collect the children that have ended; whether there are others."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
        return True
    return False
