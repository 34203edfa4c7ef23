"""How unequally a model serves its clients."""

from collections.abc import Mapping

import numpy as np


def accuracy_spread(accuracy: np.ndarray) -> Mapping[str, float]:
    """Quantiles and mean of per-client accuracy (shape (clients,)): a diagnostic, computed on training data.

    NaN, where a client could not be evaluated, is left out; nothing is returned where nothing is left.
    """
    accuracy = accuracy[~np.isnan(accuracy)]
    if not len(accuracy):
        return {}
    quantiles = {"min": 0.0, "p10": 0.1, "median": 0.5, "p90": 0.9, "max": 1.0}
    spread = {f"diagnostic_client_accuracy_{name}": float(np.quantile(accuracy, q)) for name, q in quantiles.items()}
    return {**spread, "diagnostic_client_accuracy_mean": float(accuracy.mean())}
