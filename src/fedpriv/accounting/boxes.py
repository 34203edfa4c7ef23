"""Many compositions at once: boxes of similar ones, each at most as costly as its worst corner."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fedpriv.accounting.release import Release
from fedpriv.errors import ConfigError

Key = tuple[tuple[Release, int], ...]
"""A composition as a sorted tuple."""


def in_order(counts: Mapping[Release, int]) -> Key:
    """A composition as a key.

    Raises:
        ConfigError: releases of unlike kinds, which nothing here adds up.
    """
    if len({type(release) for release in counts}) > 1:
        raise ConfigError("Releases with noise of unlike laws are together in one ledger, which nothing here adds up.")
    items: list[Any] = list(counts.items())
    return tuple(sorted(items))


@dataclass(frozen=True)
class Box:
    """Compositions of the same shape.

    Args:
        templates: a release of each part, of which its noise multiplier and rate do not matter.
        parts: (n, parts, 3): noise multiplier, rate and count.
        indices: (n,): positions in the caller's sequence.
    """

    templates: tuple[Release, ...]
    parts: npt.NDArray[np.float64]
    indices: npt.NDArray[np.int64]

    def corner(self) -> Key:
        """At least as costly as any member."""
        noise, rate, times = (
            self.parts[:, :, 0].min(0),
            self.parts[:, :, 1].max(0),
            self.parts[:, :, 2].max(0),
        )
        counts: dict[Release, int] = {}
        for template, z, q, n in zip(self.templates, noise, rate, times, strict=True):
            release: Any = replace(template, noise_multiplier=float(z), rate=float(q))  # type: ignore[type-var]
            counts[release] = counts.get(release, 0) + int(n)
        return in_order(counts)

    def coordinates(self) -> npt.NDArray[np.float64]:
        logs = np.log(np.maximum(self.parts, 1e-12)) * np.array([1.5, 1.0, 0.5])
        return np.asarray(logs.reshape(len(self.indices), -1))

    def nearest_to_corner(self) -> int:
        """Index of the member that comes nearest to the corner."""
        logs = np.log(np.maximum(self.parts, 1e-12)) * np.array([-1.5, 1.0, 0.5])
        return int(self.indices[logs.sum(axis=(1, 2)).argmax()])

    def halves(self) -> tuple["Box", "Box"]:
        low = lower_half(self.coordinates())
        return (
            Box(self.templates, self.parts[low], self.indices[low]),
            Box(self.templates, self.parts[~low], self.indices[~low]),
        )


def spread(coordinates: npt.NDArray[np.float64]) -> float:
    """Sum over the columns of (n, d) coordinates of their range."""
    return float(np.ptp(coordinates, axis=0).sum())


def lower_half(coordinates: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Mask (n,) of the rows below the middle of the widest column of (n, d) coordinates, which are not all equal."""
    column = coordinates[:, int(np.ptp(coordinates, axis=0).argmax())]
    return np.asarray(column < (column.min() + column.max()) / 2)


def by_shape(keys: Sequence[Key]) -> list[Box]:
    """A box for each shape; indices are positions in ``keys``."""
    members: dict[tuple[Hashable, ...], list[int]] = {}
    for index, key in enumerate(keys):
        members.setdefault(tuple(release.shape for release, _ in key), []).append(index)
    boxes = []
    for shape, indices in members.items():
        templates = tuple(release for release, _ in keys[indices[0]])
        parts = [[(r.noise_multiplier, r.rate, times) for r, times in keys[index]] for index in indices]
        cells = np.array(parts, dtype=np.float64).reshape(len(indices), len(shape), 3)
        boxes.append(Box(templates, cells, np.array(indices)))
    return boxes


def alike_in_noise(keys: Sequence[Key]) -> list[Box]:
    """Boxes that hold all of ``keys``: of one shape, and of the same noise multipliers, each."""
    boxes = []
    for box in by_shape(keys):
        _, group_of = np.unique(box.parts[:, :, 0], axis=0, return_inverse=True)
        for group in range(int(group_of.max()) + 1):
            members = group_of.reshape(-1) == group
            boxes.append(Box(box.templates, box.parts[members], box.indices[members]))
    return boxes


def at_most(count: int, keys: Sequence[Key]) -> list[Box]:
    """Boxes that hold all of ``keys``, the widest ones split until there are ``count`` (or as many as shapes)."""
    boxes = by_shape(keys)
    while len(boxes) < count:
        widest = max(range(len(boxes)), key=lambda b: spread(boxes[b].coordinates()), default=None)
        if widest is None or spread(boxes[widest].coordinates()) == 0:
            break
        boxes += boxes.pop(widest).halves()
    return boxes
