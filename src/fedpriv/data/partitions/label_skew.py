"""Clients that differ in their labels."""

import numpy as np

from fedpriv.data.dataset import IntArray
from fedpriv.data.partitions.proportions import draw_proportions
from fedpriv.data.partitions.room import Integers, check_room
from fedpriv.errors import ConfigError


def dirichlet(
    *,
    labels: Integers,
    users: Integers | None,
    num_classes: int,
    num_clients: int,
    rng: np.random.Generator,
    min_examples: int,
    alpha: float,
) -> IntArray:
    """Label skew: each class is divided among clients in proportions drawn from Dirichlet(alpha, ..., alpha).

    Small ``alpha`` gives clients of few classes and unequal sizes; large ``alpha`` comes near iid. The draw
    is repeated while some client is too small, as usual; after 20 draws the last one is repaired: the largest
    clients give randomly chosen examples to those that lack some.

    Source: Yurochkin et al. 2019, "Bayesian Nonparametric Federated Learning of Neural Networks", section 4
    (each class over the clients). Hsu et al. 2019, arXiv:1909.06335, draw each client's classes instead.

    Raises:
        ConfigError: too few examples, or alpha not > 0.
    """
    check_room(len(labels), num_clients, min_examples)
    return draw_proportions(
        labels=labels,
        num_classes=num_classes,
        num_clients=num_clients,
        alpha=alpha,
        min_examples=min_examples,
        rng=rng,
    )


def shards(
    *,
    labels: Integers,
    users: Integers | None,
    num_classes: int,
    num_clients: int,
    rng: np.random.Generator,
    min_examples: int,
    shards_per_client: int,
) -> IntArray:
    """Sorted by label, cut into equal shards, ``shards_per_client`` random ones to each client.

    Source: McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from Decentralized Data",
    section 3 (there, 200 shards and two per client).

    Raises:
        ConfigError: too few examples for the number of shards.
    """
    n, num_shards = len(labels), num_clients * shards_per_client
    if shards_per_client < 1:
        raise ConfigError(f"partition.shards_per_client is {shards_per_client}: choose a whole number >= 1.")
    check_room(n, num_clients, max(min_examples, shards_per_client))
    mixed = rng.permutation(n)
    by_label = mixed[np.argsort(labels[mixed], kind="stable")]
    owner = rng.permutation(np.repeat(np.arange(num_clients, dtype=np.int64), shards_per_client))
    assignment = np.empty(n, dtype=np.int64)
    assignment[by_label] = owner[np.arange(n, dtype=np.int64) * num_shards // n]
    smallest = int(np.bincount(assignment, minlength=num_clients).min())
    if smallest < min_examples:
        raise ConfigError(
            f"With {num_shards} shards the smallest client holds {smallest} examples, fewer than "
            f"partition.min_examples={min_examples}: lower it, or partition.num_clients."
        )
    return assignment
