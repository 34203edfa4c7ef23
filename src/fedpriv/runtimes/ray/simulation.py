"""Flower's simulation runtime as a pool of workers: a private SuperLink, Ray, and a line to the bridge between them."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, final

from fedpriv.errors import FedprivError
from fedpriv.runtimes.pools import BuildClientApp
from fedpriv.runtimes.sharing import nameless_file, share
from fedpriv.runtimes.workers import job_of

from .available import check_installed, cluster_address, cpus_of_an_actor
from .project import Project, make_project
from .supervisor import LAST_WORDS, kill_all_of

if TYPE_CHECKING:
    from flwr.app import Message

_PROGRAM = "import json, sys; from fedpriv.runtimes.ray.supervisor import main; main(**json.loads(sys.argv[1]))"
_START_SECONDS = 300.0
_END_SECONDS = 20.0
_TAIL = 8
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, kw_only=True)
class RayActors:
    """Actors of a Ray that is started here, or of a cluster.

    Args:
        workers: how many, >= 1.
        threads: CPUs of each, at least.
        address: of the cluster; None: Ray is started on this machine, and ended.
    """

    workers: int
    threads: int
    address: str | None

    @staticmethod
    def here(*, workers: int, threads: int) -> "RayActors":
        """Where ``RAY_ADDRESS`` says."""
        return RayActors(workers=workers, threads=threads, address=cluster_address())

    def start(self) -> "Simulation":
        """See ``PoolKind``."""
        check_installed()
        cpus = cpus_of_an_actor(workers=self.workers, threads=self.threads, address=self.address)
        return Simulation(
            make_project(workers=self.workers, threads=self.threads, cpus=cpus, address=self.address),
        )


@final
class Simulation:
    """A ``Pool``; it starts up while this process does something else, until ``begin``."""

    def __init__(self, project: Project) -> None:
        self._log = nameless_file()  # of all that is started
        self._connection: Connection | None = None
        self._modules: dict[str, str] = {}
        self._pids: list[int] = []
        self._folder = project.folder
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(project.socket))
        self._listener.listen(1)
        self._listener.settimeout(0.2)
        alive, self._alive = os.pipe()
        told = {"alive": alive, "folder": str(project.folder), "port": project.port}
        told |= {"superlink": project.superlink, "run": project.run}
        try:
            self._supervisor = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, json.dumps(told)],
                env=project.environ,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                pass_fds=(alive,),
                start_new_session=True,  # Ctrl-C reaches the whole process group, but this process decides
            )
        finally:
            os.close(alive)

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers, each on its own machine."""
        return self._pids

    def suits(self, modules: Mapping[str, str]) -> bool:
        """See ``Pool``."""
        return (
            self._supervisor.poll() is None
            and not (self._connection is not None and self._connection.poll())
            and all(modules.get(name, digest) == digest for name, digest in self._modules.items())
        )

    def begin(self, build: BuildClientApp, *, modules: Mapping[str, str]) -> None:
        """See ``Pool``."""
        from . import wire

        self._modules |= modules
        connection = self._connected()
        with closing(nameless_file()) as file:
            # an environment may hold passwords, and is another one on another machine
            job = replace(job_of(share(build, file)), environ={})
            self._send(job)
            if job.build.spans:
                reduction.send_handle(connection, file.fileno(), self._supervisor.pid)
            told = [wire.answer_of(reply) for reply in self._receive()]
        self._pids = sorted({content[wire.WORKER]["pid"] for content in told})

    def run(self, messages: "Sequence[Message]") -> "list[Message]":
        """See ``Pool``."""
        from flwr.app import Message

        from . import wire

        self._send(list(messages))
        replies = self._receive()
        return [Message(wire.answer_of(reply), reply_to=m) for m, reply in zip(messages, replies, strict=True)]

    def forget(self) -> None:
        """See ``Pool``."""
        if self._connection is not None:
            self._send(None)
            self._receive()

    def close(self) -> None:
        """See ``Pool``."""
        os.close(self._alive)
        try:
            self._supervisor.wait(timeout=_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._supervisor.kill()
            self._supervisor.wait()
        if self._supervisor.returncode < 0:  # it was killed, and could not do it
            kill_all_of(self._folder)
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._connection is not None:
            self._connection.close()
        self._listener.close()
        self._log.close()

    def _connected(self) -> Connection:
        end = time.monotonic() + _START_SECONDS
        while self._connection is None:
            try:
                accepted, _ = self._listener.accept()
                accepted.setblocking(True)
                self._connection = Connection(accepted.detach())
                self._receive()  # ready
            except TimeoutError:
                if self._supervisor.poll() is not None:
                    raise self._error("could not be started") from None
                if time.monotonic() > end:
                    raise self._error(f"has not started in {_START_SECONDS:g} s") from None
        return self._connection

    def _send(self, asked: Any) -> None:
        try:
            self._connected().send(asked)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise self._error("ended by itself") from error

    def _receive(self) -> Any:
        connection = self._connected()
        try:
            ready = False
            while not ready:
                if self._supervisor.poll() is not None:
                    raise self._error("ended by itself")
                ready = connection.poll(1.0)
            return connection.recv()
        except (EOFError, OSError) as error:  # OSError: it ended in the middle of its answer
            raise self._error("ended by itself") from error

    def _error(self, what: str) -> FedprivError:
        log = os.pread(self._log.fileno(), 1 << 24, 0).decode(errors="replace")
        lines = _COLOURS.sub("", log).partition(LAST_WORDS)[0].splitlines()
        said = "\n".join(f"  {line}" for line in [line for line in lines if line.strip()][-_TAIL:])
        return FedprivError(f"Flower's simulation on Ray {what}. The run can be resumed. It said last:\n{said}")
