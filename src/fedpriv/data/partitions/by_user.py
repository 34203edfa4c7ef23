"""Clients as the data has them."""

import numpy as np

from fedpriv.data.dataset import IntArray
from fedpriv.data.partitions.room import Integers
from fedpriv.errors import ConfigError


def natural(
    *,
    labels: Integers,
    users: Integers | None,
    num_classes: int,
    num_clients: int | None,
    rng: np.random.Generator,
    min_examples: int,
) -> IntArray:
    """One client per user; users with fewer than ``min_examples`` are dropped, their examples unused.

    ``num_clients`` None takes every remaining user; n takes n of them, the first in a random order (so the n
    of one seed contain those of any smaller n). Clients are numbered by ascending user id.

    Raises:
        ConfigError: the data has no user ids, or not that many users.
    """
    if users is None:
        raise ConfigError(
            "partition=natural needs to know who made each example, and this data has no user ids: set "
            "data.user, or choose partition=iid, dirichlet or shards."
        )
    _, user, sizes = np.unique(users, return_inverse=True, return_counts=True)
    eligible = np.flatnonzero(sizes >= min_examples)
    wanted = len(eligible) if num_clients is None else num_clients
    if wanted < 1 or wanted > len(eligible):
        raise ConfigError(
            f"{len(eligible)} of {len(sizes)} users hold at least {min_examples} examples, and "
            f"partition.num_clients asks for {wanted}: lower partition.num_clients (null: all users) or "
            "partition.min_examples."
        )
    chosen = eligible if num_clients is None else np.sort(rng.permutation(eligible)[:wanted])
    client_of = np.full(len(sizes), -1, dtype=np.int64)
    client_of[chosen] = np.arange(wanted)
    return client_of[user]
