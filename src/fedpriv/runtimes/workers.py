"""Local worker processes: each builds the ClientApp once and answers messages until its parent is gone."""

import logging
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Self

from flwr.app import Message

from fedpriv.errors import FedprivError

from .flower_private import node_context

BuildClientApp = Callable[[], Callable[..., Message]]


class WorkerPool:
    """N spawned processes that run one ClientApp each. Use as a context manager.

    A worker dies with its parent, however that ends: a thread in it waits for the parent's end.

    Args:
        build: makes the ClientApp; picklable, called once in every worker.
        workers: number of processes, >= 1.
    """

    def __init__(self, *, build: BuildClientApp, workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._processes = []
        self._pipes: list[Connection] = []
        with _deaf_to_interrupts():
            for _ in range(workers):
                here, there = context.Pipe()
                process = context.Process(target=_serve, args=(there, build), daemon=True)
                process.start()
                there.close()
                self._processes.append(process)
                self._pipes.append(here)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join(timeout=5)
            if process.is_alive():
                process.kill()
                process.join()
        for pipe in self._pipes:
            pipe.close()

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [process.pid for process in self._processes if process.pid is not None]

    def wait_until_ready(self) -> None:
        """Return when every worker has built its ClientApp.

        Raises:
            FedprivError: one could not.
        """
        for pipe in self._pipes:
            self._receive(pipe)

    def run(self, messages: Sequence[Message]) -> list[Message]:
        """Answers in the order of ``messages``; a free worker takes the next one.

        Raises:
            FedprivError: a worker ended, or failed outside of any client.
        """
        waiting = list(enumerate(messages))[::-1]
        answers: list[Message | None] = [None] * len(messages)
        busy: dict[Connection, int] = {}
        free = list(self._pipes)
        while waiting or busy:
            while waiting and free:
                index, message = waiting.pop()
                pipe = free.pop()
                self._send(pipe, message)
                busy[pipe] = index
            for ready in wait(list(busy)):
                pipe = ready  # type: ignore[assignment]
                answers[busy.pop(pipe)] = self._receive(pipe)
                free.append(pipe)
        return [answer for answer in answers if answer is not None]

    def _send(self, pipe: Connection, message: Message) -> None:
        try:
            pipe.send(message)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise self._ended(pipe) from error

    def _receive(self, pipe: Connection) -> Message:
        try:
            answer = pipe.recv()
        except (EOFError, OSError) as error:  # OSError: it ended in the middle of its answer
            raise self._ended(pipe) from error
        if isinstance(answer, str):
            raise FedprivError(f"A worker failed: {answer}")
        return answer

    def _ended(self, pipe: Connection) -> FedprivError:
        process = self._processes[self._pipes.index(pipe)]
        process.join(timeout=5)
        return FedprivError(
            f"Worker process {process.pid} ended by itself (exit code {process.exitcode}; -9 often means that "
            "memory ran out). The run can be resumed; use fewer workers or smaller batches."
        )


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Ctrl-C reaches the whole process group, but the parent decides: workers inherit the block from birth."""
    resource_tracker.ensure_running()  # its start, in the middle of a worker's, would lift the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection, build: BuildClientApp) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_parent()
    try:
        app = build()
    except Exception as error:
        _answer(pipe, f"{type(error).__name__}: {error}")
        return
    _answer(pipe, None)
    while True:
        try:
            message: Message = pipe.recv()
        except (EOFError, ConnectionResetError):
            return
        try:
            answer: Message | str = app(message, node_context(message.metadata.dst_node_id))
        except Exception as error:
            logging.getLogger(__name__).debug("%s", traceback.format_exc())
            answer = f"{type(error).__name__}: {error}"
        _answer(pipe, answer)


def _answer(pipe: Connection, answer: Message | str | None) -> None:
    try:
        pipe.send(answer)
    except (BrokenPipeError, ConnectionResetError):
        os._exit(1)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
