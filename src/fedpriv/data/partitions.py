"""Partitions: which client holds which training example.

Each function takes ``labels`` (int, shape (n,)), ``users`` (int, shape (n,), or None), ``num_classes``,
``num_clients``, a generator ``rng`` and ``min_examples`` (the least that a client may hold; 0 allows
empty clients), and returns a client id per example, int64, shape (n,), -1 where nobody holds it.

These are numpy, not a library's: the partitioners of flwr-datasets loop over clients in Python, give up on
minimum sizes after a few draws, take a seed instead of a generator, and need the Hugging Face stack.
"""

import numpy as np
import numpy.typing as npt

from fedpriv.data.dataset import IntArray
from fedpriv.errors import ConfigError

_DIRICHLET_DRAWS = 20

Integers = npt.NDArray[np.integer]


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
    _check_room(len(labels), num_clients, min_examples)
    return rng.permutation(np.arange(len(labels), dtype=np.int64) % num_clients)


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
    if not (alpha > 0 and np.isfinite(alpha)):
        raise ConfigError(f"partition.alpha is {alpha}: choose a number > 0 (0.1: strong skew).")
    _check_room(len(labels), num_clients, min_examples)
    for _ in range(_DIRICHLET_DRAWS):
        assignment = _draw_dirichlet(labels, num_classes, num_clients, alpha, rng)
        if np.bincount(assignment, minlength=num_clients).min() >= min_examples:
            return assignment
    return _repair(assignment, num_clients, min_examples, rng)


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
    _check_room(n, num_clients, max(min_examples, shards_per_client))
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


def _check_room(examples: int, num_clients: int, min_examples: int) -> None:
    if num_clients < 1:
        raise ConfigError(f"partition.num_clients is {num_clients}: choose a whole number >= 1.")
    if min_examples < 0:
        raise ConfigError(f"partition.min_examples is {min_examples}: choose a whole number >= 0.")
    if num_clients > examples:
        raise ConfigError(
            f"partition.num_clients={num_clients} is more than the {examples} training examples: "
            f"choose at most {examples} clients, or more data."
        )
    if num_clients * min_examples > examples:
        raise ConfigError(
            f"{num_clients} clients with at least {min_examples} examples each need "
            f"{num_clients * min_examples}, and there are {examples}: "
            "lower partition.num_clients or partition.min_examples."
        )


def _draw_dirichlet(
    labels: Integers, num_classes: int, num_clients: int, alpha: float, rng: np.random.Generator
) -> IntArray:
    assignment = np.empty(len(labels), dtype=np.int64)
    for label in range(num_classes):
        rows = rng.permutation(np.flatnonzero(labels == label))
        edges = np.cumsum(rng.dirichlet(np.full(num_clients, alpha)))
        # The class fills [0, 1] evenly; an example goes to the client in whose stretch its middle lies.
        position = (np.arange(len(rows)) + 0.5) / max(1, len(rows))
        assignment[rows] = np.minimum(np.searchsorted(edges, position, side="right"), num_clients - 1)
    return assignment


def _repair(assignment: IntArray, num_clients: int, min_examples: int, rng: np.random.Generator) -> IntArray:
    """Bring every client to ``min_examples``, at the largest clients' expense."""
    sizes = np.bincount(assignment, minlength=num_clients)
    lacking = np.maximum(0, min_examples - sizes)
    low, high = min_examples, int(sizes.max())  # the level that donors are cut down to, at least min_examples
    while low < high:
        level = (low + high + 1) // 2
        low, high = (level, high) if np.maximum(0, sizes - level).sum() >= lacking.sum() else (low, level - 1)

    mixed = rng.permutation(len(assignment))
    by_client = mixed[np.argsort(assignment[mixed], kind="stable")]
    rank = np.arange(len(assignment)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    spare = rng.permutation(by_client[rank >= low])[: lacking.sum()]
    repaired = assignment.copy()
    repaired[spare] = np.repeat(np.arange(num_clients), lacking)
    return repaired
