"""What the bridge and its workers say to each other, beside an experiment's own messages."""

import re
from typing import TYPE_CHECKING, Any

from flwr.app import ConfigRecord, Error, Message, RecordDict

from fedpriv.errors import FedprivError

if TYPE_CHECKING:
    from ray import ObjectRef

JOB, WORKER = "fedpriv.job", "fedpriv.worker"
_FAILURE, _ERROR = "fedpriv.failure", "fedpriv.error"
_CLASS = re.compile(r"^<class '(?:\w+\.)*(\w+)'>:<'")  # how Flower writes an exception
CONTROL = "query"
"""The type of messages that no experiment sends: build, or forget, your app."""


class Job(ConfigRecord):
    """The record of a message that says what to build an app from.

    Ray finds the reference when it pickles the message for a worker, and so knows who still needs the object; as bytes
    in the record it would be kept for ever.

    Attributes:
        reference: of (``worker.Job``, bytes of its large arrays); None: forget what was built.
    """

    reference: "ObjectRef[Any] | None"

    @staticmethod
    def of(reference: "ObjectRef[Any] | None", *, run: int, node: int) -> "Job":
        """
        Args:
            run: number of the job; the app of another one is not used.
            node: that the experiment's own server sent the message to.
        """
        job = Job({"run": run, "node": node})
        job.reference = reference
        return job


def failed(error: Exception, asked: Message) -> Message:
    """The answer of a worker that could not answer."""
    text = f"{type(error).__name__}: {error}"
    return Message(RecordDict({_FAILURE: ConfigRecord({"text": text})}), reply_to=asked)


def enclosed(reply: Message, asked: Message) -> Message:
    """An app's reply, an error of its own as content: then a real error is one of Flower or Ray."""
    if not reply.has_error():
        return reply
    error = ConfigRecord({"code": reply.error.code, "reason": reply.error.reason or ""})
    return Message(RecordDict({_ERROR: error}), reply_to=asked)


def answer_of(reply: Message) -> RecordDict | Error:
    """What the app said.

    Raises:
        FedprivError: the worker failed outside of any client, or is gone.
    """
    if reply.has_error():
        said = _CLASS.sub(r"\1: ", (reply.error.reason or "no reason given").strip()).splitlines()[0]
        raise FedprivError(
            f"A Ray worker ended by itself, or its machine was lost ({said}). The run can be resumed; if memory ran "
            "out, use fewer workers or smaller batches."
        )
    records = reply.content.config_records
    if _FAILURE in records:
        raise FedprivError(f"A worker failed: {records[_FAILURE]['text']}")
    if _ERROR in records:
        return Error(int(records[_ERROR]["code"]), str(records[_ERROR]["reason"]))  # type: ignore[arg-type]
    return reply.content
