"""The ClientApp of Ray's workers: hosts the app of whichever run a message belongs to."""

import gc
import importlib
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import spawn
from typing import Any

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedpriv.runtimes import flower_private, worker
from fedpriv.runtimes.workers import IMPORTED_AHEAD

from . import wire


class Host(ClientApp):
    """Answers every type of message."""

    def __call__(self, message: Message, context: Context) -> Message:
        """Never raises: what Flower makes of an exception could not be told from a lost worker."""
        job: Any = message.content.pop(wire.JOB)
        try:
            hosted = _hosted(job)
            if message.metadata.message_type == wire.CONTROL:
                return Message(RecordDict({wire.WORKER: ConfigRecord({"pid": os.getpid()})}), reply_to=message)
            if hosted is None:
                raise RuntimeError("There was no job.")
            return wire.enclosed(hosted(message, flower_private.node_context(job["node"])), message)
        except Exception as error:
            return wire.failed(error, message)


app = Host()

_run = 0
_app: Callable[..., Message] | None = None


def _hosted(job: wire.Job) -> Callable[..., Message] | None:
    global _run, _app
    if job["run"] != _run or (_app is None and job.reference is not None):
        _app = None
        gc.collect()  # an earlier run's data
        _run, _app = int(job["run"]), None if job.reference is None else _build(job.reference)  # type: ignore[arg-type]
    if job.reference is None:
        for name in IMPORTED_AHEAD:  # there is no hurry now
            with suppress(Exception):
                importlib.import_module(name)
    return _app


def _build(reference: Any) -> Callable[..., Message]:
    import ray

    worker.become_one()
    job: worker.Job
    job, arrays = ray.get(reference)
    if os.path.isdir(job.folder):  # another machine may have none
        os.chdir(job.folder)
    sys.path[:] = dict.fromkeys([*job.path, *sys.path])
    if job.script:
        spawn.prepare(dict(job.script))
    return job.build.unpickle(arrays)()  # type: ignore[no-any-return]
