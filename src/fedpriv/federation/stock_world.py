"""What Flower's own code takes for granted and fedpriv does without: a log on the terminal."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


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
