"""Groups of examples divided among clients in proportions drawn from a Dirichlet distribution."""

import numpy as np

from fedpriv.data.dataset import IntArray
from fedpriv.data.partitions.room import Integers
from fedpriv.errors import ConfigError

_DRAWS = 20


def draw_proportions(
    *,
    labels: Integers,
    num_classes: int,
    num_clients: int,
    alpha: float,
    min_examples: int,
    rng: np.random.Generator,
) -> IntArray:
    """A client id per example; every client holds ``min_examples`` at least.

    The draw is repeated while some client is too small, as usual; after 20 draws the last one is repaired: the
    largest clients give randomly chosen examples to those that lack some.

    Args:
        labels: the group of each example, 0 ... num_classes - 1; each is divided in proportions of its own.
        alpha: the concentration, for every client the same.

    Raises:
        ConfigError: alpha not > 0.
    """
    if not (alpha > 0 and np.isfinite(alpha)):
        raise ConfigError(f"partition.alpha is {alpha}: choose a number > 0 (0.1: strong skew).")
    for _ in range(_DRAWS):
        assignment = _draw(labels, num_classes, num_clients, alpha, rng)
        if np.bincount(assignment, minlength=num_clients).min() >= min_examples:
            return assignment
    return repair(assignment, num_clients, min_examples, rng)


def _draw(labels: Integers, num_classes: int, num_clients: int, alpha: float, rng: np.random.Generator) -> IntArray:
    assignment = np.empty(len(labels), dtype=np.int64)
    for label in range(num_classes):
        rows = rng.permutation(np.flatnonzero(labels == label))
        edges = np.cumsum(rng.dirichlet(np.full(num_clients, alpha)))
        # The class fills [0, 1] evenly; an example goes to the client in whose stretch its middle lies.
        position = (np.arange(len(rows)) + 0.5) / max(1, len(rows))
        assignment[rows] = np.minimum(np.searchsorted(edges, position, side="right"), num_clients - 1)
    return assignment


def repair(assignment: IntArray, num_clients: int, min_examples: int, rng: np.random.Generator) -> IntArray:
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
