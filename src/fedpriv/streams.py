"""Named random streams: every coin of a run is a function of (key, purpose, indices) and of nothing else.

No coin of fedpriv comes from a global generator. Keys and indices are hashed together with their lengths fixed, so that
neither seeds equal modulo 2**32 nor index pairs that share a prefix can collide.
"""

import hashlib
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

_MT19937_WORDS = 624
_CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Streams:
    """The keys of a run's random streams, one for each purpose.

    Args:
        keys: purpose -> key bytes. Purposes in use: ``partition`` and ``split`` (data), ``model``
            (initial weights), ``cohort``, ``batches``, ``dropout``, ``training`` (a model's own
            randomness, such as dropout layers), ``noise``, ``masks`` (of secure sums), ``canaries``, ``canary
            places``, ``budgets``.
    """

    keys: Mapping[str, bytes]

    def rng(self, purpose: str, *indices: int) -> np.random.Generator:
        """A Philox generator for one purpose and position, e.g. ``rng("noise", round, client, attempt)``."""
        return np.random.Generator(np.random.Philox(self._seed_sequence(purpose, indices)))

    def torch_generator(self, purpose: str, *indices: int, device: torch.device = _CPU) -> torch.Generator:
        """A ``torch.Generator`` for one purpose and position.

        On the CPU ``manual_seed`` keeps only 32 bits of its seed, so the whole mt19937 state comes from the
        stream. Accelerators' Philox generators take 64 bits.
        """
        generator = torch.Generator(device)
        if device.type == "cpu":
            generator.set_state(self.torch_state(purpose, *indices))
        else:
            generator.manual_seed(int(self._seed_sequence(purpose, indices).generate_state(1, np.uint64)[0]))
        return generator

    def torch_state(self, purpose: str, *indices: int) -> torch.Tensor:
        """The state (uint8, shape (5056,)) behind ``torch_generator``, for ``torch.set_rng_state``."""
        state = torch.Generator().get_state().numpy().copy()
        words = state.view(np.uint64)
        words[1] = 1 | (1 << 32)  # left = 1 (refill before the first draw), seeded = 1
        words[2] = 0  # next
        words[3 : 3 + _MT19937_WORDS] = self._seed_sequence(purpose, indices).generate_state(_MT19937_WORDS)
        return torch.from_numpy(state)

    def _seed_sequence(self, purpose: str, indices: tuple[int, ...]) -> np.random.SeedSequence:
        digest = hashlib.blake2b(key=self.keys[purpose], person=b"fedpriv-stream", digest_size=32)
        digest.update(purpose.encode().ljust(32, b"\0"))
        for index in indices:
            digest.update(int(index).to_bytes(16, "little", signed=True))
        return np.random.SeedSequence(int.from_bytes(digest.digest(), "little"))


def seed_key(seed: int) -> bytes:
    """A stream key from a seed of any size (0 is a seed like any other)."""
    return hashlib.sha256(f"fedpriv seed {seed}".encode()).digest()


@contextmanager
def global_coins(rng: np.random.Generator) -> Iterator[None]:
    """Seeds Python's, numpy's and torch's global generators from ``rng``, and puts them back as they were.

    For other people's code, which knows no others: Flower's strategies sample with ``random``, its mods draw noise
    with ``numpy.random``. Nothing that a guarantee relies on comes from here.
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
