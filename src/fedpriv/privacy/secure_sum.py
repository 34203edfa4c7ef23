"""Sums of integers that nobody sees one by one."""

from typing import Protocol

import numpy as np


class SecureSum(Protocol):
    """A sum modulo 2^bits of what clients send masked."""

    @property
    def bits(self) -> int: ...

    def mask(
        self, values: np.ndarray, *, client: int, cohort: np.ndarray, round_number: int, attempt: int
    ) -> np.ndarray:
        """What the client sends in place of its integers: shape (d,), int64 in [0, 2^bits)."""
        ...

    def unmask(
        self, total: np.ndarray, *, answered: np.ndarray, cohort: np.ndarray, round_number: int, attempt: int
    ) -> np.ndarray:
        """The sum modulo 2^bits of those who ``answered``, from the sum of what they sent: int64, shape (d,)."""
        ...
