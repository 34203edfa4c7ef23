"""Planted clients in Flower's own dialect: real messages, a real ClientApp, real mods; only the training is planned."""

import copy
import inspect
import logging
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, final

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fedpriv.errors import FedprivError
from fedpriv.federation.stock_world import quiet_flower
from fedpriv.runtimes import flower_private
from fedpriv.runtimes.inprocess import InProcessGrid

from .subject import Report

Mod = Callable[[Message, Context, Callable[[Message, Context], Message]], Message]

# Flower's strategies look again after a second where too few nodes are there: that often, and not by a busy machine.
_PAUSE, _WAITS = 0.5, 2


def node_of(client: int) -> int:
    """Node ids are not 0."""
    return client + 1


def client_of(node: int) -> int:
    return node - 1


def seeded(target: Callable[..., Any], arguments: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Its arguments, with the play's seed where it takes one and is given none."""
    return {**({"seed": seed} if "seed" in parameters(target) else {}), **arguments}


def parameters(target: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(target).parameters
    except (TypeError, ValueError):
        return {}


def to_record(arrays: Mapping[str, np.ndarray]) -> ArrayRecord:
    return ArrayRecord({name: Array(np.asarray(value)) for name, value in arrays.items()})


def to_arrays(record: ArrayRecord) -> dict[str, np.ndarray]:
    return {name: np.asarray(array.numpy()) for name, array in record.items()}


def moved(after: Mapping[str, np.ndarray], before: Mapping[str, np.ndarray]) -> np.ndarray:
    """Movement (float64, shape (d,)) in the order of ``before``."""
    return np.concatenate([(after[k].astype(np.float64) - v).ravel() for k, v in before.items()])


@contextmanager
def unheard() -> Iterator[None]:
    """Keeps what other people's code says of overflows and dropouts, which are planted, off the terminal."""
    with quiet_flower(logging.CRITICAL), np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@final
class PresentNodes(InProcessGrid):
    """A Grid that does not let a strategy wait for nodes that never come.

    Raises:
        FedprivError: it looks again and again.
    """

    _looked, _waited = math.inf, 0

    def get_node_ids(self) -> Iterable[int]:
        nodes, now = list(super().get_node_ids()), time.monotonic()
        self._waited += now - self._looked > _PAUSE
        if self._waited == _WAITS:
            raise FedprivError(f"it waits for more nodes than the {len(nodes)} that are there")
        self._looked = now
        return nodes


def answer(message: Message, report: Report, *, mods: Sequence[Mod], context: Context) -> Message:
    """The reply of one client whose training ends where its report says.

    Raises:
        FedprivError: the message holds another number of ArrayRecords than one.
    """
    app = ClientApp()

    @app.train(mods=list(mods))
    def train(message: Message, context: Context) -> Message:
        if len(message.content.array_records) != 1:
            sent = len(message.content.array_records)
            raise FedprivError(f"clients are sent {sent} ArrayRecords; the kit's take one")
        ((key, record),) = message.content.array_records.items()
        trained = {name: _trained(value, report.update[name]) for name, value in to_arrays(record).items()}
        metrics = MetricRecord({"num-examples": report.num_examples})
        return Message(RecordDict({key: to_record(trained), "metrics": metrics}), reply_to=message)

    # strategies share one RecordDict among all messages, and mods may change what they are handed
    message.content = copy.deepcopy(message.content)
    reply: Message = app(message, context)
    return reply


def context_of(client: int, *, num_clients: int) -> Context:
    """What a client's node keeps from round to round."""
    context = flower_private.node_context(node_of(client))
    context.node_config = {"partition-id": client, "num-partitions": num_clients}
    return context


def _trained(start: np.ndarray, update: Any) -> np.ndarray:
    """Where training ended, as the parameter is stored; integers hold the nearest."""
    value = start.astype(np.float64) + update
    return np.asarray(np.rint(value) if start.dtype.kind in "iu" else value).astype(start.dtype)
