"""Processes that answer messages for this one: started once, used by one run after another."""

import atexit
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from fedpriv.errors import FedprivError

from . import worker

if TYPE_CHECKING:
    from flwr.app import Message

BuildClientApp = Callable[[], Callable[..., "Message"]]


class Pool(Protocol):
    """Some processes; they end with ``close``, or with this process, however it ends."""

    @property
    def pids(self) -> list[int]:
        """Process ids of those that answer, once they do."""

    def suits(self, modules: Mapping[str, str]) -> bool:
        """Whether it can serve a run: all is alive, and nothing holds another version of one of ``modules``."""

    def begin(self, build: BuildClientApp, *, modules: Mapping[str, str]) -> None:
        """Have every process build its ClientApp; returns when all have.

        Args:
            build: makes it; picklable. Large arrays in it are shared by the processes, which may only read them.
            modules: the user's own that it needs, each with a digest.

        Raises:
            FedprivError: one could not.
        """

    def run(self, messages: "Sequence[Message]") -> "list[Message]":
        """Answers in the order of ``messages``.

        Raises:
            FedprivError: a process ended, or failed outside of any client.
        """

    def forget(self) -> None:
        """Have every process drop its ClientApp and the data."""

    def close(self) -> None:
        """End all of it, whatever it does."""


class PoolKind(Protocol):
    """What a pool is made of; pools of equal kinds are as good as each other."""

    def start(self) -> Pool:
        """A new one.

        Raises:
            InputError: there can be none, with the mend; nothing was started.
        """


@contextmanager
def borrowed(kind: PoolKind, *, modules: Mapping[str, str]) -> Iterator[Pool]:
    """The pool of the run before, or a new one. It is kept for the next run, unless this one fails.

    Args:
        modules: the user's own that the run needs, each with a digest.
    """
    global _idle
    if worker.is_one():
        raise FedprivError(
            "A script that workers import starts a run again. Put what it does below `if __name__ == '__main__':`."
        )
    idle, _idle = _idle, None
    if idle is not None and not (idle[0] == kind and idle[1].suits(modules)):
        idle[1].close()
        idle = None
    pool = kind.start() if idle is None else idle[1]
    try:
        yield pool
    except BaseException:
        pool.close()
        raise
    with suppress(FedprivError):  # one that has just died; the next run starts others
        pool.forget()
    _idle = (kind, pool)


def start_early(kind: PoolKind | None) -> None:
    """Let processes import what they need while this one still reads and checks; None: there will be none."""
    if kind is not None:
        with borrowed(kind, modules={}):
            pass


_idle: tuple[PoolKind, Pool] | None = None


@atexit.register
def close_idle() -> None:
    """End the pool that waits for a next run."""
    if _idle is not None:
        _idle[1].close()
        _disown()


def _disown() -> None:
    global _idle
    _idle = None


os.register_at_fork(after_in_child=_disown)
