"""The wire format: what a node is told and what it answers, as Flower records.

A train message holds the global parameters under their state-dict keys, what the algorithm broadcasts beside them,
and a work list: chunks of client ids with each client's noise multiplier and state. A reply holds, for every chunk,
the sum of its clients' encoded updates (or every client's by itself), and one array of all metrics, with an entry per
client: Flower gives every array a header, which takes longer to read than a thousand numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

ClientStates = Mapping[int, Mapping[str, torch.Tensor]]

REPLIED, DROPPED, FAILED = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class TrainTask:
    """One node's work in one round.

    Attributes:
        parameters: state-dict key -> trainable parameter.
        broadcast: what the algorithm sends to every client beside them; ``told``: what the mechanism does.
        chunk_ids: positions of this node's chunks in the round's order of summation.
        chunks: client ids of each chunk.
        noise_multipliers: of the noise that each client adds, in chunk order (float64); NaN for none.
        states: client id -> what the algorithm keeps for it.
        each: whether every client's encoded update is wanted by itself instead of a sum per chunk.
    """

    round: int
    attempt: int
    parameters: Mapping[str, torch.Tensor]
    broadcast: Mapping[str, torch.Tensor]
    told: Mapping[str, torch.Tensor]
    chunk_ids: tuple[int, ...]
    chunks: tuple[tuple[int, ...], ...]
    noise_multipliers: np.ndarray
    states: ClientStates
    each: bool

    @property
    def clients(self) -> tuple[int, ...]:
        return tuple(client for chunk in self.chunks for client in chunk)

    def to_record(self) -> RecordDict:
        return RecordDict(
            {
                "parameters": ArrayRecord(dict(self.parameters)),
                "broadcast": ArrayRecord(dict(self.broadcast)),
                "told": ArrayRecord(dict(self.told)),
                "work": _arrays(
                    {
                        "clients": np.asarray(self.clients, dtype=np.int64),
                        "noise_multipliers": self.noise_multipliers,
                    }
                ),
                "states": _states_record(self.states),
                "config": ConfigRecord(
                    {
                        "round": self.round,
                        "attempt": self.attempt,
                        "each": self.each,
                        "chunk_ids": list(self.chunk_ids),
                        "chunk_sizes": [len(chunk) for chunk in self.chunks],
                    }
                ),
            }
        )

    @staticmethod
    def from_record(record: RecordDict) -> "TrainTask":
        work, config = _numpy(record.array_records["work"]), record.config_records["config"]
        clients = iter(work["clients"].tolist())
        return TrainTask(
            round=_int(config["round"]),
            attempt=_int(config["attempt"]),
            parameters=record.array_records["parameters"].to_torch_state_dict(),
            broadcast=record.array_records["broadcast"].to_torch_state_dict(),
            told=record.array_records["told"].to_torch_state_dict(),
            chunk_ids=_ints(config["chunk_ids"]),
            chunks=tuple(tuple(islice(clients, size)) for size in _ints(config["chunk_sizes"])),
            noise_multipliers=work["noise_multipliers"],
            states=_states(record.array_records["states"]),
            each=bool(config["each"]),
        )


@dataclass(frozen=True, kw_only=True)
class TrainReply:
    """One node's answer.

    Attributes:
        chunk_ids, chunk_sizes: as in the task; of the first chunk and of all together, where one sum holds all.
        clients: client ids, in the task's order.
        status: of each client: REPLIED, DROPPED or FAILED (int64).
        values: encoded updates, int64 or float64: sums (chunks, d), or one of all chunks (1, d) where sums of
            integers are exact, or, if each was asked for, (clients, d) with zeros for a client that did not answer.
        metrics: name -> one float64 per client, NaN where there is none; diagnostics all.
        states: client id -> its new state.
        failures: client id -> what went wrong.
    """

    chunk_ids: tuple[int, ...]
    chunk_sizes: tuple[int, ...]
    clients: np.ndarray
    status: np.ndarray
    values: torch.Tensor
    metrics: Mapping[str, np.ndarray]
    states: ClientStates
    failures: Mapping[int, str]

    def to_record(self) -> RecordDict:
        return RecordDict(
            {
                "values": _arrays({"values": self.values.numpy()}),
                "clients": _arrays({"clients": self.clients, "status": self.status}),
                "metrics": _table(self.metrics),
                "states": _states_record(self.states),
                "config": ConfigRecord(
                    {
                        "chunk_ids": list(self.chunk_ids),
                        "chunk_sizes": list(self.chunk_sizes),
                        "metrics": list(self.metrics),
                    }
                ),
                "failures": ConfigRecord({str(client): text for client, text in self.failures.items()}),
            }
        )

    @staticmethod
    def from_record(record: RecordDict) -> "TrainReply":
        clients, config = _numpy(record.array_records["clients"]), record.config_records["config"]
        return TrainReply(
            chunk_ids=_ints(config["chunk_ids"]),
            chunk_sizes=_ints(config["chunk_sizes"]),
            clients=clients["clients"],
            status=clients["status"],
            values=torch.from_numpy(_numpy(record.array_records["values"])["values"]),
            metrics=_columns(record.array_records["metrics"], config["metrics"]),
            states=_states(record.array_records["states"]),
            failures={int(k): str(v) for k, v in record.config_records["failures"].items()},
        )


@dataclass(frozen=True, kw_only=True)
class EvaluateTask:
    """Asks a node how well the parameters do on each of its clients' own data (a diagnostic).

    ``states``: client id -> what the algorithm keeps for it.
    """

    parameters: Mapping[str, torch.Tensor]
    clients: tuple[int, ...]
    states: ClientStates

    def to_record(self) -> RecordDict:
        return RecordDict(
            {
                "parameters": ArrayRecord(dict(self.parameters)),
                "work": _arrays({"clients": np.asarray(self.clients, dtype=np.int64)}),
                "states": _states_record(self.states),
            }
        )

    @staticmethod
    def from_record(record: RecordDict) -> "EvaluateTask":
        return EvaluateTask(
            parameters=record.array_records["parameters"].to_torch_state_dict(),
            clients=tuple(_numpy(record.array_records["work"])["clients"].tolist()),
            states=_states(record.array_records["states"]),
        )


@dataclass(frozen=True, kw_only=True)
class EvaluateReply:
    """One entry per client of each metric (float64)."""

    clients: np.ndarray
    metrics: Mapping[str, np.ndarray]

    def to_record(self) -> RecordDict:
        # Flower's own strategies ask evaluate replies for a MetricRecord.
        return RecordDict(
            {
                "clients": _arrays({"clients": self.clients}),
                "arrays": _arrays(self.metrics),
                "metrics": MetricRecord({"num-examples": int(np.nansum(self.metrics["examples"]))}),
            }
        )

    @staticmethod
    def from_record(record: RecordDict) -> "EvaluateReply":
        return EvaluateReply(
            clients=_numpy(record.array_records["clients"])["clients"],
            metrics=_numpy(record.array_records["arrays"]),
        )


def _arrays(arrays: Mapping[str, np.ndarray]) -> ArrayRecord:
    return ArrayRecord({name: Array(np.ascontiguousarray(array)) for name, array in arrays.items()})


def _numpy(record: ArrayRecord) -> dict[str, np.ndarray]:
    return {name: array.numpy() for name, array in record.items()}


def _table(columns: Mapping[str, np.ndarray]) -> ArrayRecord:
    """One array of all columns, (names, entries); nothing where there are none."""
    return _arrays({"table": np.stack(list(columns.values()))} if columns else {})


def _columns(record: ArrayRecord, names: Any) -> dict[str, np.ndarray]:
    return dict(zip(names, record["table"].numpy(), strict=True)) if names else {}


def _states_record(states: ClientStates) -> ArrayRecord:
    return ArrayRecord(
        {f"{client}/{name}": tensor for client, state in states.items() for name, tensor in state.items()}
    )


def _states(record: ArrayRecord) -> dict[int, dict[str, torch.Tensor]]:
    states: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in record.to_torch_state_dict().items():
        client, name = key.split("/", 1)
        states.setdefault(int(client), {})[name] = tensor
    return states


def _int(value: Any) -> int:
    return int(value)


def _ints(values: Any) -> tuple[int, ...]:
    return tuple(int(value) for value in values)
