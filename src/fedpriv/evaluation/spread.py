"""How unequally a model serves its clients."""

from collections.abc import Mapping

import numpy as np


def spread(values: np.ndarray, *, name: str) -> Mapping[str, float]:
    """Quantiles and mean of a metric over clients, shape (clients,), each named ``name_...``.

    NaN, where a client could not be evaluated, is left out; nothing is returned where nothing is left.
    """
    values = values[~np.isnan(values)]
    if not len(values):
        return {}
    quantiles = {"min": 0.0, "p10": 0.1, "median": 0.5, "p90": 0.9, "max": 1.0}
    found = {f"{name}_{quantile}": float(np.quantile(values, q)) for quantile, q in quantiles.items()}
    return {**found, f"{name}_mean": float(values.mean())}
