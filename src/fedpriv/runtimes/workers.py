"""Local worker processes."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from multiprocessing import reduction, spawn
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, final

from fedpriv.errors import FedprivError

from .pools import BuildClientApp
from .sharing import Shared, nameless_file, share
from .worker import Job

if TYPE_CHECKING:
    from flwr.app import Message

# A process of its own from the first instruction: nothing of this one is forked, nor its main module run again.
_PROGRAM = (
    "import sys; sys.path[:] = {path!r}; from fedpriv.runtimes.worker import main; "
    "main(socket={socket}, parent={parent}, modules={modules!r})"
)
IMPORTED_AHEAD = ("fedpriv.experiment.nodes", "torch._dynamo")
"""What takes seconds and is sure to be needed; torch.optim imports the latter. Names only: no room above is known."""


@dataclass(frozen=True, kw_only=True)
class LocalWorkers:
    """Processes of this machine.

    Args:
        workers: how many, >= 1.
    """

    workers: int

    def start(self) -> "WorkerPool":
        """See ``PoolKind``."""
        return WorkerPool(workers=self.workers)


@final
class WorkerPool:
    """N processes that answer messages. They end with ``close``, or with this process, however it ends.

    Args:
        workers: number of processes, >= 1.
    """

    def __init__(self, *, workers: int) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        self._pipes: list[Connection] = []
        self._modules: dict[str, str] = {}
        parent, self._alive = os.pipe()
        try:
            with _deaf_to_interrupts():
                for _ in range(workers):
                    self._start(parent)
        except BaseException:
            self.close()
            raise
        finally:
            os.close(parent)

    def _start(self, parent: int) -> None:
        here, there = multiprocessing.Pipe()
        with there:
            program = _PROGRAM.format(path=sys.path, socket=there.fileno(), parent=parent, modules=IMPORTED_AHEAD)
            process = subprocess.Popen(
                [sys.executable, "-c", program], stdin=subprocess.DEVNULL, pass_fds=(there.fileno(), parent)
            )
        self._processes.append(process)
        self._pipes.append(here)

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers."""
        return [process.pid for process in self._processes]

    def suits(self, modules: Mapping[str, str]) -> bool:
        """Whether all are alive, and none has imported another version of one of ``modules``."""
        return (
            all(process.poll() is None for process in self._processes)
            and not any(pipe.poll() for pipe in self._pipes)  # nothing was asked: it is the end that can be read
            and all(modules.get(name, digest) == digest for name, digest in self._modules.items())
        )

    def begin(self, build: BuildClientApp, *, modules: Mapping[str, str]) -> None:
        """See ``Pool``."""
        self._modules |= modules
        with closing(nameless_file()) as file:
            shared = share(build, file)
            job = job_of(shared)
            for pipe, process in zip(self._pipes, self._processes, strict=True):
                self._send(pipe, job)
                if shared.spans:
                    reduction.send_handle(pipe, file.fileno(), process.pid)
        for pipe in self._pipes:
            self._receive(pipe)

    def run(self, messages: "Sequence[Message]") -> "list[Message]":
        """Answers in the order of ``messages``; a free worker takes the next one."""
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

    def forget(self) -> None:
        """Have every worker drop its ClientApp and the data."""
        for pipe in self._pipes:
            self._send(pipe, None)

    def close(self) -> None:
        """End the workers, whatever they do."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pipe in self._pipes:
            pipe.close()
        os.close(self._alive)

    def _send(self, pipe: Connection, asked: "Job | Message | None") -> None:
        try:
            pipe.send(asked)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise self._ended(pipe) from error

    def _receive(self, pipe: Connection) -> Any:
        try:
            answer = pipe.recv()
        except (EOFError, OSError) as error:  # OSError: it ended in the middle of its answer
            raise self._ended(pipe) from error
        if isinstance(answer, str):
            raise FedprivError(f"A worker failed: {answer}")
        return answer

    def _ended(self, pipe: Connection) -> FedprivError:
        process = self._processes[self._pipes.index(pipe)]
        process.wait(timeout=5)
        return FedprivError(
            f"Worker process {process.pid} ended by itself (exit code {process.returncode}; -9 often means that "
            "memory ran out). The run can be resumed; use fewer workers or smaller batches."
        )


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Ctrl-C reaches the whole process group, but the parent decides: workers inherit the block from birth."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def job_of(build: Shared) -> Job:
    """``build``, and where this process would run it."""
    return Job(
        build=build,
        environ=dict(os.environ),
        folder=os.getcwd(),
        path=tuple(sys.path),
        script=_script() if b"__main__" in build.pickled else {},
    )


def _script() -> dict[str, Any]:
    """Where this program's main module is to be found; nothing where it is typed in."""
    found = spawn.get_preparation_data("worker")
    return {key: value for key, value in found.items() if key.startswith("init_main_from")}
