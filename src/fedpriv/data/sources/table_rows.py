"""Files of a table as features, labels, and the columns that say who made a row and where it belongs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fedpriv.data.dataset import Array, FloatArray, IntArray
from fedpriv.data.sources.table_columns import Rows
from fedpriv.data.sources.table_features import Feature, encode
from fedpriv.data.sources.table_file import Table, TableFormat, joined
from fedpriv.data.sources.table_labels import Labels
from fedpriv.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, eq=False, kw_only=True)
class Encoded:
    """Rows as arrays.

    Args:
        x: float32 (n, features).
        y: as ``Dataset``'s targets.
        silo: which file each row is from, int64 (n,).
        others: columns that are neither, as texts.
    """

    x: FloatArray
    y: Array
    silo: IntArray
    others: "dict[str, pa.Array]"

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: IntArray) -> "Encoded":
        """These rows."""
        others = {name: column.take(rows) for name, column in self.others.items()}
        return Encoded(x=self.x[rows], y=self.y[rows], silo=self.silo[rows], others=others)


@dataclass(frozen=True, eq=False, kw_only=True)
class Reader:
    """What to read of each file.

    Args:
        drop_missing: true: leave out rows that lack a value in use and not imputed; or those that lack one of these.
        user: column that needs a value in every row.
        others: columns to keep as they are -> the config key that names them.
        join, join_on: another file whose columns are added, and the column that both have.
    """

    form: TableFormat
    features: Sequence[Feature]
    labels: Labels
    drop_missing: bool | Sequence[str]
    user: str | None
    others: dict[str, str]
    join: Path | None
    join_on: str

    def read(self, files: Sequence[Path]) -> Encoded:
        """All rows, file by file."""
        import pyarrow as pa

        parts = [self._file(file, silo) for silo, file in enumerate(files)]
        return Encoded(
            x=np.concatenate([part.x for part in parts]),
            y=np.concatenate([part.y for part in parts]),
            silo=np.concatenate([part.silo for part in parts]),
            others={name: pa.concat_arrays([part.others[name] for part in parts]) for name in self.others},
        )

    def _file(self, file: Path, silo: int) -> Encoded:
        import pyarrow as pa

        rows = self._complete(self._rows(Table(file=file, form=self.form)))
        if self.user is not None:
            rows.require(self.user, mend="a row needs a user; name it in data.drop_missing to leave such rows out")
        return Encoded(
            x=encode(self.features, rows),
            y=self.labels.read(rows),
            silo=np.full(len(rows), silo),
            others={name: rows.columns[name].cast(pa.string()) for name in self.others},
        )

    def _rows(self, table: Table) -> Rows:
        wanted = dict(self._wanted())
        if self.join is None:
            self._check(wanted, table)
            columns = table.read(wanted)
            kept = np.ones(len(next(iter(columns.values()))), np.bool_)
        else:
            other = Table(file=self.join, form=replace(self.form, columns=None))
            self._check({self.join_on: "data.join_on"}, table)
            self._check({self.join_on: "data.join_on"}, other)
            added = [name for name in wanted if name in other.names and name not in table.names]
            own = {name: key for name, key in wanted.items() if name not in added}
            self._check(own, table)
            columns, kept = joined(
                table.read([*own, self.join_on]), other.read([*added, self.join_on]), on=self.join_on, file=self.join
            )
        return Rows(where=str(table.file), columns=columns, numbers=np.flatnonzero(kept) + 1)

    def _complete(self, rows: Rows) -> Rows:
        if isinstance(self.drop_missing, bool):
            imputed = {feature.column for feature in self.features if feature.imputed}
            needed = [column for column, _ in self._wanted() if column not in imputed] if self.drop_missing else []
        else:
            needed = list(self.drop_missing)
            if stray := next((column for column in needed if column not in rows.columns), None):
                raise ConfigError(f"data.drop_missing names {stray!r}, which is not a column in use.")
        kept = np.ones(len(rows), np.bool_)
        for column in needed:
            kept &= ~rows.missing(column)
        if not kept.any():
            raise DataError(f"{rows.where}: every row lacks a value, so data.drop_missing leaves none: drop a column.")
        return rows if kept.all() else rows.keep(kept)

    def _wanted(self) -> Iterator[tuple[str, str]]:
        """Columns and the config keys that name them."""
        for feature in self.features:
            if feature.column in self.labels.columns:
                raise ConfigError(f"{feature.column!r} is the label: it cannot be a feature too.")
            yield feature.column, "data.numeric or data.categorical"
        yield from self.labels.columns.items()
        yield from self.others.items()

    @staticmethod
    def _check(wanted: dict[str, str], table: Table) -> None:
        for column, key in wanted.items():
            if column not in table.names:
                raise table.column_error(column, key=key)
