"""The ServerApp of the simulation: sends what the process with the rounds wants sent, and no more."""

import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import reduction
from multiprocessing.connection import Connection
from os import close
from typing import Any

import numpy as np
from flwr.app import Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

from fedpriv.runtimes import worker

from . import wire

app = ServerApp()

_POLL_SECONDS = 0.005
_NEVER = 10 * 365 * 24 * 3600.0


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Serve until the process with the rounds is gone."""
    import ray

    while not ray.is_initialized():  # Flower starts this thread first
        time.sleep(0.05)
    with socket.socket(socket.AF_UNIX) as there:
        there.connect(str(context.run_config["socket"]))
        with Connection(there.detach()) as connection, suppress(EOFError, BrokenPipeError, ConnectionResetError):
            bridge = _Bridge(grid=grid, connection=connection, actors=int(context.run_config["actors"]))
            bridge.tell_all()  # they import what takes long
            connection.send(None)
            bridge.serve()


@dataclass(kw_only=True)
class _Bridge:
    grid: Grid
    connection: Connection
    actors: int
    reference: Any = None
    run: int = 0

    def serve(self) -> None:
        """Answer messages with their replies, a job with those of workers that have built its app; None: forget it."""
        while True:
            asked = self.connection.recv()
            if isinstance(asked, list):
                self.connection.send(self._ask(asked))
                continue
            self.run += 1
            self.reference = None if asked is None else self._put(asked)
            self.connection.send(self.tell_all())

    def _put(self, job: worker.Job) -> Any:
        import ray

        if not job.build.spans:
            return ray.put((job, []))
        descriptor = reduction.recv_handle(self.connection)
        try:
            return ray.put((job, [np.frombuffer(span, dtype=np.uint8) for span in job.build.map(descriptor)]))
        finally:
            close(descriptor)

    def tell_all(self) -> list[Message]:
        """A message for each actor: Flower gives one to whoever is free, and these take long enough to go round."""
        return self._ask([Message(RecordDict(), dst_node_id=1, message_type=wire.CONTROL) for _ in range(self.actors)])

    def _ask(self, asked: Sequence[Message]) -> list[Message]:
        """Replies in the order of ``asked``, whose nodes may be more than there are here."""
        nodes = sorted(self.grid.get_node_ids())
        sent = [
            Message(
                RecordDict({**message.content, wire.JOB: self._job(message.metadata.dst_node_id)}),
                dst_node_id=nodes[i % len(nodes)],
                message_type=message.metadata.message_type,
                ttl=_NEVER,
            )
            for i, message in enumerate(asked)
        ]
        ids = list(self.grid.push_messages(sent))
        if len(ids) < len(sent):
            raise RuntimeError("Flower took not all messages.")
        replies: dict[str, Message] = {}
        while missing := set(ids) - replies.keys():
            if self.connection.poll(_POLL_SECONDS):
                raise EOFError  # nothing is asked meanwhile: it is the end that can be read
            for reply in self.grid.pull_messages(missing):
                replies[reply.metadata.reply_to_message_id] = reply
        return [replies[message_id] for message_id in ids]

    def _job(self, node: int) -> wire.Job:
        return wire.Job.of(self.reference, run=self.run, node=node)
