"""A worker process: builds the ClientApp that it is sent, answers messages, and ends with its parent."""

import gc
import importlib
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import reduction, spawn
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from .sharing import Shared

if TYPE_CHECKING:
    from flwr.app import Message

    from .pools import BuildClientApp


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker builds its ClientApp from; the file with the large arrays follows, if there are any.

    Attributes:
        build: a ``BuildClientApp``.
        environ, folder, path: the environment, the current folder and ``sys.path`` to build it in.
        script: how multiprocessing finds the program's main module again, if ``build`` names anything of it.
    """

    build: Shared
    environ: Mapping[str, str]
    folder: str
    path: tuple[str, ...]
    script: Mapping[str, Any]


_is_one = False


def is_one() -> bool:
    """Whether this process is a worker."""
    return _is_one


def become_one() -> None:
    """Say so."""
    global _is_one
    _is_one = True


def main(*, socket: int, parent: int, modules: Iterable[str]) -> None:
    """Serve until the parent is gone.

    Args:
        socket: descriptor of the connection with the parent.
        parent: descriptor of a pipe that nobody writes to, and that closes with the parent.
        modules: what to import before there is a job; slow to import, and sure to be needed.
    """
    become_one()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    gc.disable()  # imports make a million objects and no garbage
    for name in modules:
        with suppress(Exception):  # a job that needs it says so
            importlib.import_module(name)
    gc.freeze()
    gc.enable()
    serve(Connection(socket))


def serve(pipe: Connection) -> None:
    """Answer each Job with None, each message with a message, and either with a text if it failed. None: forget all."""
    app: Callable[..., Message] | None = None
    while True:
        try:
            asked = pipe.recv()
            if asked is None or isinstance(asked, Job):
                app = None
                gc.collect()  # an earlier run's data
            if asked is None:
                continue
            answer: Message | str | None
            try:
                if isinstance(asked, Job):
                    app, answer = _build(asked, pipe), None
                else:
                    answer = _answer(app, asked)
            except Exception as error:
                logging.getLogger(__name__).debug("%s", traceback.format_exc())
                answer = f"{type(error).__name__}: {error}"
            del asked
            pipe.send(answer)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


def _build(job: Job, pipe: Connection) -> Callable[..., "Message"]:
    descriptor = reduction.recv_handle(pipe) if job.build.spans else -1
    os.environ.clear()
    os.environ.update(job.environ)
    os.chdir(job.folder)
    sys.path[:] = job.path
    if job.script:
        spawn.prepare(dict(job.script))
    try:
        build: BuildClientApp = job.build.load(descriptor)
    finally:
        if job.build.spans:
            os.close(descriptor)  # the map stays
    return build()


def _answer(app: Callable[..., "Message"] | None, message: "Message") -> "Message":
    from .flower_private import node_context

    if app is None:
        raise RuntimeError("There was no job.")
    return app(message, node_context(message.metadata.dst_node_id))


def _end_with(parent: int) -> None:
    os.read(parent, 1)
    os._exit(1)
