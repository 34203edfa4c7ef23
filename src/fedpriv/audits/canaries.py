"""Canaries: units that an auditor knows, each in the run or not by a fair coin of its own."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
import torch

from fedpriv.streams import Streams
from fedpriv.training import SparseGradient

from .bounds import Guesses

_MOST_COORDINATES = 256


@final
@dataclass(frozen=True, kw_only=True)
class Canaries:
    """Random directions; who is in the run adds its own, who is not adds nothing.

    In d dimensions random directions are all but orthogonal, so that a canary can be seen in what a model moved by and
    hardly disturbs another (Andrew et al. 2023; the Dirac canaries of Nasr et al. 2023 without their coordinates).

    Args:
        count: how many.
        streams: source of coins and directions (``canaries``); nothing of the run depends on them but the canaries.
    """

    count: int
    streams: Streams

    @cached_property
    def included(self) -> np.ndarray:
        """Whose coin said yes, bool (count,)."""
        return self.streams.rng("canaries", 0).random(self.count) < 0.5

    def direction(self, canary: int, *, size: int) -> torch.Tensor:
        """A unit vector (size,), uniform on the sphere, float64."""
        drawn = torch.from_numpy(self.streams.rng("canaries", 1, canary).standard_normal(size))
        unit: torch.Tensor = drawn / torch.linalg.vector_norm(drawn)
        return unit

    def cosines(self, moved: torch.Tensor) -> np.ndarray:
        """Of each canary's direction with what the model moved by (d,); float64 (count,)."""
        length = float(torch.linalg.vector_norm(moved))
        if length == 0 or not math.isfinite(length):
            return np.zeros(self.count)
        unit = moved.double() / length
        return np.array([float(self.direction(k, size=len(unit)) @ unit) for k in range(self.count)])

    def sparse_direction(self, canary: int, *, room: np.ndarray, norm: float) -> SparseGradient:
        """A vector of length ``norm``: random signs at 256 random coordinates of ``room`` (int64), or at fewer.

        Between the Dirac gradients of Nasr et al. 2023 and a dense direction: as cheap to add at every step as the
        former, and all but orthogonal to others, as the latter.
        """
        rng = self.streams.rng("canaries", 1, canary)
        count = 4 ** min(int(math.log(len(room), 4)), int(math.log(_MOST_COORDINATES, 4)))  # its root divides exactly
        coordinates = rng.choice(room, count, replace=False)
        values = (norm / math.isqrt(count)) * (2 * rng.integers(2, size=count) - 1)
        return SparseGradient(coordinates=coordinates, values=values.astype(np.float32))

    def sparse_cosines(self, moved: torch.Tensor, *, room: np.ndarray) -> np.ndarray:
        """As ``cosines``, of the sparse directions with what moved in their room."""
        within = moved.double().numpy()[room]
        length = float(np.linalg.norm(within))
        if length == 0 or not math.isfinite(length):
            return np.zeros(self.count)
        unit = np.zeros(len(moved))
        unit[room] = within / length
        directions = (self.sparse_direction(k, room=room, norm=1.0) for k in range(self.count))
        return np.array([float(unit[found.coordinates] @ found.values) for found in directions])

    def guesses(self, scores: Sequence[float] | np.ndarray, *, made: int) -> Guesses:
        """The ``made`` / 2 canaries of the highest scores are taken to be in, as many of the lowest to be out."""
        order = np.argsort(np.asarray(scores), kind="stable")
        half = made // 2
        right = int((~self.included[order[:half]]).sum()) + int(self.included[order[len(order) - half :]].sum())
        return Guesses(canaries=self.count, made=2 * half, right=right)
