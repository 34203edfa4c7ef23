"""How unequally a model serves its clients."""

from collections.abc import Mapping

import numpy as np

_QUARTERS = 4


def spread(values: np.ndarray, *, name: str) -> Mapping[str, float]:
    """Quantiles and mean of a metric over clients, shape (clients,), each named ``name_...``.

    NaN, where a client could not be evaluated, is left out; nothing is returned where nothing is left.
    """
    values = values[~np.isnan(values)]
    if not len(values):
        return {}
    deciles = {f"p{10 * n}": n / 10 for n in range(1, 10) if n != 5}
    quantiles = {"min": 0.0, "median": 0.5, "max": 1.0, **deciles}
    found = {f"{name}_{quantile}": float(np.quantile(values, q)) for quantile, q in quantiles.items()}
    return {**found, f"{name}_mean": float(values.mean())}


def by_size(values: np.ndarray, sizes: np.ndarray, *, name: str) -> Mapping[str, float]:
    """Means of a metric over the four quarters of clients by number of examples, ``name_quarter1`` the smallest.

    NaN, where a client could not be evaluated, is left out; fewer than four clients have no quarters.
    """
    known = ~np.isnan(values)
    if known.sum() < _QUARTERS:
        return {}
    order = np.argsort(sizes[known], kind="stable")
    parts = np.array_split(values[known][order], _QUARTERS)
    return {f"{name}_quarter{n}": float(part.mean()) for n, part in enumerate(parts, 1)}
