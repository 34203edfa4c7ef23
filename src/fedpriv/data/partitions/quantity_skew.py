"""Clients that differ in how much they hold."""

import numpy as np

from fedpriv.data.dataset import IntArray
from fedpriv.data.partitions.proportions import draw_proportions
from fedpriv.data.partitions.room import Integers, check_room


def quantity(
    *,
    labels: Integers,
    num_clients: int,
    rng: np.random.Generator,
    min_examples: int,
    alpha: float,
) -> IntArray:
    """Quantity skew: shuffled, and divided in proportions drawn from Dirichlet(alpha, ..., alpha).

    Small ``alpha`` gives a few large clients and many small ones; large ``alpha`` comes near iid.

    Source: Li et al. 2022, "Federated Learning on Non-IID Data Silos: An Experimental Study" (NIID-Bench),
    arXiv:2102.02079, section "Quantity Skew".

    Raises:
        ConfigError: too few examples, or alpha not > 0.
    """
    check_room(len(labels), num_clients, min_examples)
    return draw_proportions(
        labels=np.zeros(len(labels), np.int64),
        num_classes=1,
        num_clients=num_clients,
        alpha=alpha,
        min_examples=min_examples,
        rng=rng,
    )
