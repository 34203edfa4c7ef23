"""What a test does to a process before `fedpriv` starts in it: kill it at a chosen call, or bend its world.

A deed is a tuple: a function of this module by name, and its arguments. Places are "module:attribute.path".

    ("kill", PLACE, "before" | "after", N)   SIGKILL to itself around the N-th call
    ("kill_worker", PLACE, N, VICTIM)        the same in a worker; the victim is "itself" or "parent"
    ("version", PACKAGE, VERSION)            another version of a package is installed
    ("checkpoint_seconds", S)                0: a checkpoint after every round; inf: at start and end only
    ("slow_rounds", S)                       every round takes S seconds longer
    ("tear", NAME, N)                        die after half of the N-th line of the log of that name
    ("kill_replacing", NAME, WHEN, N)        die around the N-th rename onto a file of that name
    ("file_limit", BYTES)                    files cannot grow beyond that many bytes
    ("full_disk", N)                         from the N-th sync on, there is no space left
    ("terminal_interrupt", PLACE, N)         SIGINT to its process group at the N-th call, as Ctrl-C does
"""

import errno
import functools
import importlib
import os
import resource
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Deed = tuple[Any, ...]


def commit(deeds: Sequence[Deed]) -> None:
    """Do them all, in this process."""
    for name, *arguments in deeds:
        _DEEDS[name](*arguments)


def kill(place: str, when: str, nth: int) -> None:
    def deadly(original: Callable[..., Any]) -> Callable[..., Any]:
        count = _Counter(nth)

        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            now = count.reached()
            if now and when == "before":
                _die()
            result = original(*args, **kwargs)
            if now:
                _die()
            return result

        return call

    _replace(place, deadly)


def kill_worker(place: str, nth: int, victim: str) -> None:
    # In the worker, before it serves.
    deed = f"from crash.sabotage import kill_within; kill_within({place!r}, {nth}, {victim!r}); "
    _replace("fedpriv.runtimes.workers:_PROGRAM", lambda program: program.replace("main(", deed + "main("))


def version(package: str, other: str) -> None:
    def lying(original: Callable[[str], str]) -> Callable[[str], str]:
        return lambda name: other if name == package else original(name)

    _replace("fedpriv.records.environment:version", lying)


def checkpoint_seconds(seconds: float) -> None:
    _replace("fedpriv.experiment.attempt:_CHECKPOINT_SECONDS", lambda _: seconds)


def slow_rounds(seconds: float) -> None:
    def slow(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            time.sleep(seconds)
            return original(*args, **kwargs)

        return call

    _replace("fedpriv.federation:FederatedAveraging.run_round", slow)


def tear(name: str, nth: int) -> None:
    count = _Counter(nth)

    def torn(original: Callable[..., None]) -> Callable[..., None]:
        def write(descriptor: int, data: bytes, offset: int) -> None:
            if Path(os.readlink(f"/proc/self/fd/{descriptor}")).name == name and count.reached():
                original(descriptor, data[: len(data) // 2], offset)
                _die()
            original(descriptor, data, offset)

        return write

    _replace("fedpriv.records.hashchain:_write_all", torn)


def kill_replacing(name: str, when: str, nth: int) -> None:
    count = _Counter(nth)

    def deadly(original: Callable[..., None]) -> Callable[..., None]:
        def replace(source: Path, target: Path) -> None:
            now = Path(target).name == name and count.reached()
            if now and when == "before":
                _die()
            original(source, target)
            if now:
                _die()

        return replace

    _replace("os:replace", deadly)


def file_limit(size: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def full_disk(nth: int) -> None:
    count = _Counter(nth)

    def full(original: Callable[[int], None]) -> Callable[[int], None]:
        def fsync(descriptor: int) -> None:
            if count.passed():
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            original(descriptor)

        return fsync

    _replace("os:fsync", full)


def terminal_interrupt(place: str, nth: int) -> None:
    def interrupting(original: Callable[..., Any]) -> Callable[..., Any]:
        count = _Counter(nth)

        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            if count.reached():
                os.killpg(os.getpgid(0), signal.SIGINT)
            return original(*args, **kwargs)

        return call

    _replace(place, interrupting)


_DEEDS = {
    function.__name__: function
    for function in (
        kill, kill_worker, version, checkpoint_seconds, slow_rounds, tear, kill_replacing, file_limit, full_disk,
        terminal_interrupt,
    )
}  # fmt: skip


class _Counter:
    def __init__(self, nth: int) -> None:
        self._left = nth

    def reached(self) -> bool:
        self._left -= 1
        return self._left == 0

    def passed(self) -> bool:
        self._left -= 1
        return self._left <= 0


def kill_within(place: str, nth: int, victim: str) -> None:
    """Prepare a worker to kill itself, or its parent, at the N-th call."""
    parent = os.getppid()

    def deadly(original: Callable[..., Any]) -> Callable[..., Any]:
        count = _Counter(nth)

        def call(*args: Any, **kwargs: Any) -> Any:
            if count.reached():
                os.kill(os.getpid() if victim == "itself" else parent, signal.SIGKILL)
            return original(*args, **kwargs)

        return call

    _replace(place, deadly)


def _replace(place: str, wrap: Callable[[Any], Any]) -> None:
    module, _, path = place.partition(":")
    owner: Any = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    setattr(owner, name, wrap(getattr(owner, name)))


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
