"""Every client alike."""

import numpy as np

from fedpriv.data.dataset import IntArray
from fedpriv.data.partitions.room import Integers, check_room


def pooled(*, labels: Integers) -> IntArray:
    """One client holds everything: the central model that federated ones are compared with."""
    return np.zeros(len(labels), dtype=np.int64)


def iid(
    *,
    labels: Integers,
    users: Integers | None,
    num_classes: int,
    num_clients: int,
    rng: np.random.Generator,
    min_examples: int,
) -> IntArray:
    """Shuffled and dealt out: client sizes differ by at most one.

    Raises:
        ConfigError: too few examples.
    """
    check_room(len(labels), num_clients, min_examples)
    return rng.permutation(np.arange(len(labels), dtype=np.int64) % num_clients)
