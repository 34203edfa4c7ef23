"""The partitioners of flwr-datasets (https://flower.ai/docs/datasets)."""

import importlib
import inspect
import io
from collections.abc import Mapping
from contextlib import redirect_stderr
from typing import Any

import numpy as np

from fedpriv.data.dataset import IntArray
from fedpriv.data.partitions.room import Integers
from fedpriv.errors import ConfigError


def flower(
    *,
    labels: Integers,
    users: Integers | None,
    num_clients: int | None,
    rng: np.random.Generator,
    min_examples: int,
    partitioner: Mapping[str, Any],
) -> IntArray:
    """Any partitioner of flwr-datasets, on a table of the columns ``index``, ``label`` and, where known, ``user``.

    Args:
        labels, users, rng: as for every partition; a partitioner that takes a ``seed`` gets one from ``rng``.
        num_clients: passed as ``num_partitions`` where the partitioner takes it; None: as many as it makes.
        min_examples: the least that a client may hold (checked when the data is divided).
        partitioner: ``_target_``, e.g. flwr_datasets.partitioner.PathologicalPartitioner, and its arguments;
            ``partition_by`` names a column.

    Raises:
        ConfigError: flwr-datasets is not installed, or its partitioner refuses, or makes another number of clients.
    """
    made = _build(partitioner, num_clients, rng)
    columns = {"index": np.arange(len(labels)), "label": labels} | ({} if users is None else {"user": users})
    assignment = np.full(len(labels), -1, dtype=np.int64)
    try:
        made.dataset = importlib.import_module("datasets").Dataset.from_dict(columns)
        with redirect_stderr(io.StringIO()):  # progress bars
            found = int(made.num_partitions)
            for client in range(found):
                rows = np.asarray(made.load_partition(client)["index"], dtype=np.int64)
                if (assignment[rows] >= 0).any():
                    raise ValueError("it gives one example to two clients")
                assignment[rows] = client
    except Exception as error:  # whatever a partitioner finds wrong with the data
        reason = str(error).rstrip(".") or type(error).__name__
        raise ConfigError(
            f"partition.partitioner: {type(made).__name__} cannot divide this data: {reason}. It sees the columns "
            f"{', '.join(columns)}."
        ) from error
    if num_clients not in (None, found):
        raise ConfigError(
            f"partition.partitioner makes {found} clients, but partition.num_clients is {num_clients}: "
            "set partition.num_clients=null, or the same number."
        )
    return assignment


def _build(spec: Mapping[str, Any], num_clients: int | None, rng: np.random.Generator) -> Any:
    try:
        library = importlib.import_module("flwr_datasets.partitioner")
        importlib.import_module("datasets")
    except ImportError as error:
        raise ConfigError("partition=flower needs flwr-datasets: pip install 'fedpriv[huggingface]'.") from error
    name = str(spec.get("_target_", ""))
    module, _, kind = name.rpartition(".")
    target = getattr(library, kind, None) if module == library.__name__ else None
    if not (inspect.isclass(target) and issubclass(target, library.Partitioner) and not inspect.isabstract(target)):
        raise ConfigError(
            f"partition.partitioner._target_={name or 'null'} is no partitioner of flwr-datasets: give one such as "
            "flwr_datasets.partitioner.PathologicalPartitioner."
        )
    arguments = {key: value for key, value in spec.items() if key != "_target_"}
    parameters = inspect.signature(target).parameters
    if "num_partitions" in parameters and num_clients is not None:
        arguments.setdefault("num_partitions", num_clients)
    if "seed" in parameters:
        arguments.setdefault("seed", int(rng.integers(2**32)))
    try:
        return target(**arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"partition.partitioner: {kind}: {str(error).rstrip('.')}.") from error
