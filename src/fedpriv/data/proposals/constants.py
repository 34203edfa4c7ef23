"""The constants that bring examples to about [-1, 1]."""

from dataclasses import dataclass

import numpy as np

from fedpriv.data.dataset import Array
from fedpriv.data.proposals.yaml_text import flow, number

_MOST_FEATURES = 100  # beyond, one range for all


@dataclass(frozen=True, kw_only=True)
class Constants:
    """YAML: ``scale``, and ``mean`` and ``std``, which follow it; ``fitted`` where they come from the data."""

    scale: str
    mean_and_std: str
    fitted: bool

    @property
    def keys(self) -> str:
        """All three."""
        return self.scale + self.mean_and_std


def constants(x: Array) -> Constants:
    """For examples (n, ...): bytes have a known range, of other numbers the range is that of the data."""
    if x.dtype == np.uint8:
        return Constants(scale=f"scale: {1 / 255}  # bytes\n", mean_and_std="mean: 0.5\nstd: 0.5\n", fitted=False)
    rows = x.reshape(len(x), -1) if x.ndim == 2 and x.shape[1] <= _MOST_FEATURES else x.reshape(-1, 1)
    low, high = rows.min(axis=0).astype(np.float64), rows.max(axis=0).astype(np.float64)
    middle, half = (low + high) / 2, np.where(high > low, (high - low) / 2, 1.0)
    mean, std = flow(map(number, middle.tolist())), flow(map(number, half.tolist()))
    if rows.shape[1] == 1:
        mean, std = mean[1:-1], std[1:-1]
    told = "# No mean and deviation: the midpoint and half of the range, so that the data fills [-1, 1].\n"
    return Constants(scale="scale: 1\n", mean_and_std=f"{told}mean: {mean}\nstd: {std}\n", fitted=True)
