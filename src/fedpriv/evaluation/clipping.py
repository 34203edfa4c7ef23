"""Whose gradients or updates are clipped: diagnostics on training data, by client and by sensitive group."""

from collections.abc import Mapping
from typing import final

import numpy as np

from fedpriv.data import FederatedData

_EXAMPLES, _UPDATES = "diagnostic_clipped_examples", "diagnostic_clipped"
Columns = Mapping[str, np.ndarray]


@final
class ClipRates:
    """Adds up a run's clients table, block by block, so that its length does not matter.

    Shares are of examples' gradients where those are clipped (example level), else of clients' whole updates; a mean
    over a client's rounds, and over all examples of a group. At client level an example counts as clipped where its
    client's update was.
    """

    def __init__(self, data: FederatedData) -> None:
        self._data = data
        self._clients = {name: np.zeros((2, data.num_clients)) for name in (_EXAMPLES, _UPDATES)}
        self._groups = {label: np.zeros(2) for attribute in data.groups for label in _labels(data, attribute)}

    @property
    def columns(self) -> list[str]:
        """Those of the clients table that it wants, where they are."""
        return [*self._clients, *(name for label in self._groups for name in (_rate(label), _seen(label)))]

    def add(self, clients: np.ndarray, columns: Columns) -> None:
        """Some rows: client ids and, of ``columns``, those that the table has; each (rows,)."""
        for name, sums in self._clients.items():
            if name in columns:
                known = np.isfinite(columns[name])
                for total, weights in zip(sums, (columns[name][known], None), strict=True):
                    total += np.bincount(clients[known], weights=weights, minlength=len(total))
        for label, pair in self._groups.items():
            if _rate(label) in columns:
                rate, seen = columns[_rate(label)], columns[_seen(label)]
                known = np.isfinite(rate)
                pair += (float(rate[known] @ seen[known]), float(seen[known].sum()))

    def by_client(self) -> np.ndarray:
        """Share clipped, (clients,); NaN for one where nothing was."""
        for sums, counts in self._clients.values():
            if counts.any():
                rates: np.ndarray = np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
                return rates
        return np.full(self._data.num_clients, np.nan)

    def by_group(self, attribute: str) -> dict[str, float | None]:
        """Share clipped of each group's training examples; None where it is not known."""
        data, names = self._data, self._data.names_of(attribute)
        if self._clients[_EXAMPLES][1].any():
            pairs = [self._groups[label] for label in _labels(data, attribute)]
        else:
            examples = training_examples(data, attribute=attribute)
            clipped, rounds = self._clients[_UPDATES]
            pairs = list(np.stack([clipped @ examples, rounds @ examples], axis=1))
        return {
            name: float(clipped / seen) if seen > 0 else None
            for name, (clipped, seen) in zip(names, pairs, strict=True)
        }


def training_examples(data: FederatedData, *, attribute: str) -> np.ndarray:
    """Training examples of each client in each group, int64 (clients, groups)."""
    names = data.names_of(attribute)
    owners = np.repeat(np.arange(data.num_clients), data.client_sizes)
    cells = owners * len(names) + data.groups[attribute][data.indices].astype(np.int64)
    return np.bincount(cells, minlength=data.num_clients * len(names)).reshape(data.num_clients, len(names))


def _labels(data: FederatedData, attribute: str) -> list[str]:
    return [f"{attribute}_{name}" for name in data.names_of(attribute)]


def _rate(label: str) -> str:
    return f"{_EXAMPLES}_{label}"


def _seen(label: str) -> str:
    return f"diagnostic_examples_{label}"
