"""Each client's own numbers, held once: what keeps the ledger of many clients and rounds small."""

import base64
import hashlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
import numpy.typing as npt

from fedpriv.errors import FedprivError

MOST_LISTED = 1_000
"""Clients of a federation up to which every entry lists its clients' numbers; entries of more name a table.

100,000 rounds with half of 10,000 clients are then 192 MB instead of more than 30 GB. No cohort takes more: half of
the clients are 10,000 bits that nothing can compress.
"""

COLUMNS = ("clients", "rate", "noise_multiplier", "noise_std", "steps")
"""What an entry says of each client, and a table has once."""

_SUMMABLE = 255  # bitmaps whose sum fits a byte


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ClientTable:
    """What clients release whenever they take part, a row each; equal where all numbers are.

    Args:
        clients: (n,) int64: ids, ascending.
        rate, noise_multiplier, noise_std, steps: (n,) float64, the last one int64, as in ``ReleaseEntry``.
    """

    clients: npt.NDArray[np.int64]
    rate: npt.NDArray[np.float64]
    noise_multiplier: npt.NDArray[np.float64]
    noise_std: npt.NDArray[np.float64]
    steps: npt.NDArray[np.int64]

    @cached_property
    def _digest(self) -> bytes:
        return hashlib.sha256(b"".join(column.tobytes() for column in self.columns.values())).digest()

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, ClientTable) and self._digest == other._digest)

    def __hash__(self) -> int:
        return hash(self._digest)

    def some(self, clients: npt.NDArray[np.int64]) -> "TabledClients":
        """Those of the table's clients that have these ids.

        Raises:
            FedprivError: a client that the table does not have.
        """
        present = np.isin(self.clients, clients)
        if present.sum() != len(clients):
            raise FedprivError("A client of the cohort is not in the ledger's table. Nothing was released.")
        return TabledClients(table=self, bitmap=np.packbits(present, bitorder="little").tobytes())

    @staticmethod
    def of(columns: Mapping[str, Sequence[float]]) -> "ClientTable":
        """From the columns of a ledger's line.

        Raises:
            KeyError, TypeError, ValueError: no table.
        """
        table = ClientTable(
            clients=_column(columns["clients"], np.int64),
            rate=_column(columns["rate"], np.float64),
            noise_multiplier=_column(columns["noise_multiplier"], np.float64),
            noise_std=_column(columns["noise_std"], np.float64),
            steps=_column(columns["steps"], np.int64),
        )
        if len({len(column) for column in table.columns.values()}) > 1:
            raise ValueError("columns of unlike lengths")
        if np.any(np.diff(table.clients) <= 0):
            raise ValueError("client ids that do not ascend")
        return table

    @property
    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """All of them, by name."""
        return {name: getattr(self, name) for name in COLUMNS}


@final
@dataclass(frozen=True, kw_only=True)
class TabledClients:
    """Some of a table's clients.

    Args:
        bitmap: row i is meant where bit i is 1, the least significant bit of the first byte being bit 0; no bit beyond
            the last row is 1.
    """

    table: ClientTable
    bitmap: bytes

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """Row numbers, ascending."""
        return np.flatnonzero(participations([self]))

    @property
    def packed(self) -> str:
        """The bitmap as text: compressed by zlib, in base 64."""
        return base64.b64encode(zlib.compress(self.bitmap, 9)).decode("ascii")

    @staticmethod
    def unpacked(table: ClientTable, packed: str) -> "TabledClients":
        """The inverse of ``packed``.

        Raises:
            ValueError: not a bitmap of the table's rows.
        """
        try:
            bitmap = zlib.decompress(base64.b64decode(packed, validate=True))
        except zlib.error as error:
            raise ValueError(f"rows that cannot be unpacked ({error})") from None
        rows = len(table.clients)
        if len(bitmap) != (rows + 7) // 8 or (rows % 8 and bitmap[-1] >> rows % 8):
            raise ValueError(f"rows beyond the {rows} of the table")
        return TabledClients(table=table, bitmap=bitmap)


def participations(cohorts: Iterable[TabledClients]) -> npt.NDArray[np.int64]:
    """How many of the cohorts, at least one and all of one table, each row is in: (rows,)."""
    cohorts = list(cohorts)
    rows = len(cohorts[0].table.clients)
    counts = np.zeros(rows, dtype=np.int64)
    for start in range(0, len(cohorts), _SUMMABLE):
        bitmaps = [cohort.bitmap for cohort in cohorts[start : start + _SUMMABLE]]
        packed = np.frombuffer(b"".join(bitmaps), dtype=np.uint8).reshape(len(bitmaps), -1)
        counts += np.unpackbits(packed, axis=1, count=rows, bitorder="little").sum(axis=0, dtype=np.uint8)
    return counts


def _column(values: Any, dtype: type[np.generic]) -> npt.NDArray[Any]:
    column = np.asarray(values)
    if column.ndim != 1 or not np.can_cast(column.dtype, dtype):
        raise ValueError("a column that does not hold one number a client")
    return column.astype(dtype)
