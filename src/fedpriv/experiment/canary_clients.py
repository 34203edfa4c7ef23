"""Clients without data, behind all others: the places of client-level canaries."""

from dataclasses import replace

import numpy as np

from fedpriv.config import Config
from fedpriv.data import ClientIndex, FederatedData


def num_canary_clients(config: Config) -> int:
    """So many canaries are clients of their own."""
    return int(config.audit["canaries"]) if config.audit.get("kind") == "client" else 0


def with_canary_clients(data: FederatedData, count: int) -> FederatedData:
    """The same data with ``count`` more clients, who hold nothing; they count in the population."""
    if not count:
        return data
    return replace(
        data,
        clients=_longer(data.clients, count),
        holdout=None if data.holdout is None else _longer(data.holdout, count),
    )


def _longer(index: ClientIndex, count: int) -> ClientIndex:
    ends = np.full(count, index.offsets[-1], dtype=index.offsets.dtype)
    return ClientIndex(offsets=np.concatenate([index.offsets, ends]), indices=index.indices)
