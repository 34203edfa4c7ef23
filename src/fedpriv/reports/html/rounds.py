"""Numbers by round, over the seeds of a setting."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fedpriv.runs import Run
from fedpriv.runs.statistics import mean_interval


def column_of(table: pa.Table, name: str) -> npt.NDArray[np.float64]:
    """The finite numbers of a column; none where there is no such column."""
    if name not in table.column_names:
        return np.empty(0)
    values = np.asarray(table[name].to_numpy(zero_copy_only=False), dtype=np.float64)
    return values[np.isfinite(values)]


def by_round(runs: Sequence[Run], *, column: str, most: bool) -> list[dict[str, Any]]:
    """A row a round where at least one run has the column: mean with its 95 % interval, or the most over runs.

    Rounds that only some of the runs reached have those runs' numbers; ``seeds`` says how many they are.
    """
    found: dict[int, list[float]] = {}
    for run in runs:
        table = run.rounds
        if column not in table.column_names:
            continue
        values = np.asarray(table[column].to_numpy(zero_copy_only=False), dtype=np.float64)
        for number, value in zip(table["round"].to_pylist(), values.tolist(), strict=True):
            if np.isfinite(value):
                found.setdefault(number, []).append(value)
    return [_point(number, found[number], most) for number in sorted(found)]


def _point(number: int, values: Sequence[float], most: bool) -> dict[str, Any]:
    if most:
        return {"round": number, "mean": max(values), "low": None, "high": None, "seeds": len(values)}
    interval = mean_interval(values)
    return {
        "round": number,
        "mean": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "seeds": len(values),
    }
