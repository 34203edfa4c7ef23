"""Examples by kind of label, whatever the labels are: what splits balance and partitions skew."""

from dataclasses import dataclass

import numpy as np

from fedpriv.data.dataset import Array, IntArray

_NUMBER_STRATA = 4


@dataclass(frozen=True, eq=False)
class Strata:
    """Attributes: ``names`` of the strata; ``of``, the stratum of each example, int64, shape (n,)."""

    names: tuple[str, ...]
    of: IntArray


def strata(y: Array, *, num_classes: int | None) -> Strata:
    """Classes by themselves, sequences by their first class, numbers by quarter, survival by event.

    Args:
        y, num_classes: as in ``Dataset``.
    """
    if num_classes is not None:
        first = y if y.ndim == 1 else y[:, 0]
        return Strata(tuple(map(str, range(num_classes))), first.astype(np.int64, copy=False))
    if y.ndim == 2:
        return Strata(("censored", "event"), y[:, 1].astype(np.int64))
    edges = np.quantile(y.astype(np.float64), np.arange(1, _NUMBER_STRATA) / _NUMBER_STRATA)
    return Strata(tuple(f"quarter {i + 1}" for i in range(_NUMBER_STRATA)), np.searchsorted(edges, y, side="right"))
