"""Secure aggregation by masks that cancel in pairs.

Bonawitz et al. 2017, "Practical secure aggregation for privacy-preserving machine learning", sections 4.1 - 4.3
(pairwise and self masks, recovery of dropped clients); neighbours in a sparse graph: Bell et al. 2020
(arXiv 2004.14032).

Real here: the generator (ChaCha20), masks, modular sums, and which keys the server is given in recovery. Simulated: key
agreement and the exchange of secret shares; keys come from the run's streams.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np

from fedpriv.streams import Streams

_SELF = -1  # in place of a second client


@final
@dataclass(frozen=True, kw_only=True)
class PairwiseMasks:
    """Client u adds its self mask, the masks it shares with larger neighbours, and subtracts those with smaller ones.

    The server removes the self masks of who answered, and the masks that these share with those who did not; it is
    never given both kinds of one client's keys.

    Args:
        bits: sums are modulo 2^bits, at most 32.
        streams: source of keys (``masks``), by round, attempt and pair.
    """

    bits: int
    streams: Streams

    def mask(
        self, values: np.ndarray, *, client: int, cohort: np.ndarray, round_number: int, attempt: int
    ) -> np.ndarray:
        masked: np.ndarray = values.astype(np.int64) + self._words(round_number, attempt, client, _SELF, len(values))
        for other in neighbours(cohort, round_number=round_number)[client]:
            masked += self._between(round_number, attempt, client, other, len(values))
        return masked & self._modulus

    def unmask(
        self, total: np.ndarray, *, answered: np.ndarray, cohort: np.ndarray, round_number: int, attempt: int
    ) -> np.ndarray:
        plain: np.ndarray = total.astype(np.int64) & self._modulus
        there = set(answered.tolist())
        graph = neighbours(cohort, round_number=round_number)
        for client in there:
            plain = plain - self._words(round_number, attempt, client, _SELF, len(total))
            for gone in (other for other in graph[client] if other not in there):
                plain = plain - self._between(round_number, attempt, client, gone, len(total))
        return plain & self._modulus

    @property
    def _modulus(self) -> int:
        return (1 << self.bits) - 1

    def _between(self, round_number: int, attempt: int, client: int, other: int, size: int) -> np.ndarray:
        words = self._words(round_number, attempt, min(client, other), max(client, other), size)
        return words if client < other else -words

    def _words(self, round_number: int, attempt: int, first: int, second: int, size: int) -> np.ndarray:
        """Of the pair's keystream: int64 in [0, 2^bits), shape (size,)."""
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

        key = self.streams.rng("masks", round_number, attempt, first, second).bytes(32)
        width = 2 if self.bits <= 16 else 4
        stream = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor().update(bytes(width * size))
        return np.frombuffer(stream, dtype=f"<u{width}").astype(np.int64) & self._modulus


def neighbours(cohort: np.ndarray, *, round_number: int) -> Mapping[int, Sequence[int]]:
    """Client -> those whom it shares masks with: about 2 log2 n, next to it in a ring in a public random order."""
    return _ring(tuple(cohort.tolist()), round_number)


@lru_cache(maxsize=8)
def _ring(cohort: tuple[int, ...], round_number: int) -> dict[int, list[int]]:
    order = np.random.Generator(np.random.Philox(round_number)).permutation(cohort).tolist()
    count = len(order)
    reach = min(max(1, math.ceil(math.log2(max(2, count)))), count // 2)
    found: dict[int, set[int]] = {client: set() for client in order}
    for place, client in enumerate(order):
        for step in range(1, reach + 1):
            other = order[(place + step) % count]
            if other != client:
                found[client].add(other)
                found[other].add(client)
    return {client: sorted(others) for client, others in found.items()}
