"""What Flower's own code takes for granted and fedpriv does without: global generators, and a log on the terminal."""

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def global_coins(rng: np.random.Generator) -> Iterator[None]:
    """Seeds Python's, numpy's and torch's global generators from ``rng``, and puts them back as they were.

    Flower's strategies sample with ``random`` and its mods draw noise with ``numpy.random``. Nothing that a guarantee
    relies on comes from here.
    """
    before = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(rng.bytes(32))
        np.random.seed(rng.integers(2**32, size=8))
        torch.manual_seed(int(rng.integers(2**63)))
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])


@contextmanager
def quiet_flower(level: int = logging.WARNING) -> Iterator[None]:
    """Keeps what Flower logs below ``level`` off the terminal."""
    logger = logging.getLogger("flwr")
    before = logger.level
    logger.setLevel(max(level, before))
    try:
        yield
    finally:
        logger.setLevel(before)
