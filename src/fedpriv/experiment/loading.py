"""The data of an experiment: loaded, divided among clients, split; a function of the data seed."""

import math
from typing import Any

import numpy as np

from fedpriv.config import Config
from fedpriv.data import Dataset, FederatedData, Partition, federate, strata
from fedpriv.errors import ConfigError
from fedpriv.experiment.canary_clients import num_canary_clients, with_canary_clients
from fedpriv.streams import Streams, seed_key
from fedpriv.targets import build

PURPOSES = ("split", "partition", "holdout", "held out clients", "canary places")


def load_data(config: Config) -> FederatedData:
    """Load and divide the data.

    Raises:
        InputError: data that cannot be read, or not be divided so.
    """
    seed = config.seed if config.seeds.data is None else config.seeds.data
    streams = Streams(keys=dict.fromkeys(PURPOSES, seed_key(seed)))
    dataset = build(config.data, expected=Dataset, where="data", rng=streams.rng("split"))
    labels = strata(dataset.train.y, num_classes=dataset.num_classes)
    partition: Any = build(
        config.partition,
        expected=(np.ndarray, Partition),
        where="partition",
        dataset=dataset,
        labels=labels.of,
        users=dataset.users,
        num_classes=len(labels.names),
        rng=streams.rng("partition"),
    )
    if isinstance(partition, Partition):
        if len(partition.dataset.train) != len(dataset.train):
            raise ConfigError(
                f"The partition gave {len(partition.dataset.train)} training examples for {len(dataset.train)}: it may "
                "change what clients see of an example, but every example is one client's."
            )
        dataset, partition = partition.dataset, partition.assignment
    data = federate(
        dataset,
        partition,
        num_clients=config.partition.get("num_clients"),
        min_examples=config.partition.get("min_examples", 0),
        holdout=_holdout(partition, config.split.client_holdout, streams.rng("holdout")),
        held_out_clients=_held_out(partition, config.split.held_out_clients, streams.rng("held out clients")),
    )
    if config.audit.get("kind") == "example":
        from fedpriv.experiment.canary_examples import with_canary_examples  # scipy, only for audited runs

        return with_canary_examples(config, data, streams)
    return with_canary_clients(data, num_canary_clients(config))


def _holdout(assignment: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray | None:
    """A mask of round(share * n) random examples of every client; at least one stays for training."""
    if share == 0:
        return None
    mixed = rng.permutation(len(assignment))
    by_client = mixed[np.argsort(assignment[mixed], kind="stable")]
    _, first, sizes = np.unique(assignment[by_client], return_index=True, return_counts=True)
    rank = np.arange(len(assignment)) - np.repeat(first, sizes)
    kept_back = np.minimum(np.rint(share * sizes), sizes - 1)
    mask = np.zeros(len(assignment), dtype=np.bool_)
    mask[by_client] = rank < np.repeat(kept_back, sizes)
    return mask & (assignment >= 0)


def _held_out(assignment: np.ndarray, share: float, rng: np.random.Generator) -> list[int]:
    """ceil(share * clients) random clients."""
    clients = np.unique(assignment[assignment >= 0])
    count = math.ceil(share * len(clients))
    if count and count == len(clients):
        raise ConfigError(
            f"split.held_out_clients={share} leaves none of the {len(clients)} clients for training; use less, or more "
            "clients."
        )
    return sorted(rng.permutation(clients)[:count].tolist())
