"""How unequally a model serves its clients."""

from collections.abc import Mapping

import numpy as np

_QUARTERS, _TENTHS = 4, 10


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


def deciles_by_size(columns: Mapping[str, np.ndarray], sizes: np.ndarray) -> Mapping[str, list[float | None]]:
    """Means over the ten tenths of clients by number of examples, the smallest first.

    Args:
        columns: metric -> value of each client (clients,); NaN is left out of a mean, and None stands for none at all.
        sizes: examples of each client (clients,).

    Returns:
        ``clients`` and ``examples`` (the mean size) of each tenth, and each metric's ten means; nothing for fewer than
        ten clients.
    """
    if len(sizes) < _TENTHS:
        return {}
    parts = np.array_split(np.argsort(sizes, kind="stable"), _TENTHS)

    def means(values: np.ndarray) -> list[float | None]:
        known = [values[part][np.isfinite(values[part])] for part in parts]
        return [float(own.mean()) if len(own) else None for own in known]

    told = {name: means(values) for name, values in columns.items()}
    return {"clients": [float(len(part)) for part in parts], "examples": means(sizes.astype(np.float64)), **told}
