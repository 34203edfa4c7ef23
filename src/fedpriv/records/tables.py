"""Tables: Parquet parts while a run trains, one Parquet file at its end; readers take both."""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, final

from fedpriv.errors import DamagedRunError
from fedpriv.records.atomic import atomic_file, sync_folder, writing

_MEND = "Run again with force=true to start anew."


@final
class TableParts:
    """The one writer of `<folder>/<name>.parquet`; every row has an integer `round`.

    Rows are buffered, and reach the disk at `flush`, which goes with the run's checkpoint. A column may be
    missing from some rows (null there); integers stay integers unless the column holds fractions elsewhere.
    """

    def __init__(self, *, folder: Path, name: str) -> None:
        """Nothing is written yet. After a restart call `discard_after` first."""
        self._folder = folder
        self._name = name
        self._buffer: list[dict[str, Any]] = []
        self._schema: Any = None  # of the parts so far, so that a part that does not fit is refused at once

    def add_rows(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Buffer rows: scalars (or None) by column name."""
        if plain := [dict(row) for row in rows]:
            names = dict.fromkeys(name for row in plain for name in row)
            self._add({name: [_scalar(row.get(name)) for row in plain] for name in names})

    def add_columns(self, columns: Mapping[str, Any]) -> None:
        """Buffer as many rows as the 1-d arrays have entries; a scalar stands for all of them."""
        self._add(dict(columns))

    def flush(self, first_round: int, last_round: int) -> None:
        """Write the buffered rows, of rounds `first_round` to `last_round`, as one part; none, no part.

        Raises:
            ValueError: a row of another round, columns of unlike lengths, or a table that is finished.
            TypeError: a column whose type does not fit the earlier parts.
            InputError, FedprivError: cannot be written; the rows stay buffered.
        """
        import pyarrow as pa

        if not self._buffer:
            return
        if _final(self._folder, self._name).exists():
            raise ValueError(f"the {self._name} table is finished: call discard_after before adding rows")
        if self._schema is None and (parts := _parts(self._folder, self._name)):
            self._schema = _read(parts[-1][2]).schema
        try:
            # An empty array's type says nothing of its column.
            tables = [table for table in map(_table, self._buffer) if table.num_rows]
            if self._schema is not None:
                tables.insert(0, self._schema.empty_table())
            part = _concatenated(tables) if tables else _table({"round": []})
        except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
            raise TypeError(f"the {self._name} table: {error}") from error
        if part.num_rows:
            rounds = part["round"].to_numpy()
            if rounds.min() < first_round or rounds.max() > last_round:
                raise ValueError(f"the {self._name} table: rows not of rounds {first_round} to {last_round}")
            _write(_part(self._folder, self._name, first_round, last_round), part)
        self._schema = part.schema
        self._buffer.clear()

    def discard_after(self, last_round: int) -> None:
        """Forget every row after `last_round` (0: all rows), also from a finished table, which then goes on.

        Raises:
            DamagedRunError: a part holds rounds on both sides, or cannot be read.
        """
        self._buffer.clear()
        self._schema = None
        final_path = _final(self._folder, self._name)
        finished = _read(final_path) if final_path.exists() and last_round > 0 else None
        for first, last, path in _parts(self._folder, self._name):
            if final_path.exists() or first > last_round:
                with writing(path):
                    path.unlink()  # a finished table holds all rows of its parts
            elif last > last_round:
                raise DamagedRunError(f"{path} does not end at the checkpoint's round {last_round}. {_MEND}")
        if finished is not None:
            import pyarrow.compute as pc

            kept = finished.filter(pc.less_equal(finished["round"], last_round))
            if kept.num_rows:
                bounds = pc.min_max(kept["round"]).as_py()
                _write(_part(self._folder, self._name, bounds["min"], bounds["max"]), kept)
        with writing(final_path):
            final_path.unlink(missing_ok=True)

    def finish(self) -> None:
        """Merge the parts into `<folder>/<name>.parquet`; may be called again, also after a kill.

        Raises:
            ValueError: rows are buffered still.
            DamagedRunError: a part cannot be read.
            InputError, FedprivError: cannot be written; the parts are still there.
        """
        if self._buffer:
            raise ValueError(f"rows of the {self._name} table are not flushed yet")
        final_path = _final(self._folder, self._name)
        if not final_path.exists():
            _write(final_path, read_table(self._folder, self._name))
        for _, _, path in _parts(self._folder, self._name):
            with writing(path):
                path.unlink(missing_ok=True)
        with suppress(OSError):  # not there, or still home to another table's parts
            _parts_folder(self._folder).rmdir()

    def _add(self, columns: dict[str, Any]) -> None:
        if "round" not in columns:
            raise ValueError(f"every row of the {self._name} table needs its round")
        self._buffer.append(columns)


def read_table(folder: Path, name: str) -> Any:
    """The table, as a `pyarrow.Table`: finished, or what a run has flushed so far (maybe no rows yet).

    Raises:
        DamagedRunError: a file of it cannot be read, or two parts hold the same round.
    """
    final_path = _final(folder, name)
    for _ in range(20):  # the owner may merge, or discard, while we read
        if final_path.exists():
            return _read(final_path)
        parts = _parts(folder, name)
        try:
            tables = [_read(path) for _, _, path in parts]
        except FileNotFoundError:
            continue
        if not tables and final_path.exists():
            continue
        for (_, last, _), (first, _, path) in pairwise(parts):
            if first <= last:
                raise DamagedRunError(f"{path} and the part before it hold the same rounds. {_MEND}")
        return _concatenated(tables) if tables else _table({"round": []})
    raise DamagedRunError(f"The parts of the {name} table in {folder} vanish while they are read. Try again.")


def _final(folder: Path, name: str) -> Path:
    return folder / f"{name}.parquet"


def _parts_folder(folder: Path) -> Path:
    return folder / "parts"


def _part(folder: Path, name: str, first: int, last: int) -> Path:
    return _parts_folder(folder) / f"{name}-{first}-{last}.parquet"


def _parts(folder: Path, name: str) -> list[tuple[int, int, Path]]:
    """First round, last round and path of each part, in order of rounds."""
    found = (
        (re.fullmatch(rf"{re.escape(name)}-(\d+)-(\d+)\.parquet", path.name), path)
        for path in _parts_folder(folder).glob(f"{name}-*.parquet")
    )
    return sorted((int(match[1]), int(match[2]), path) for match, path in found if match)


def _read(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DamagedRunError(f"{path} cannot be read as a table. {_MEND}") from error


def _write(path: Path, table: Any) -> None:
    import pyarrow.parquet as pq

    with writing(path):
        if not path.parent.exists():
            path.parent.mkdir()
            sync_folder(path.parent.parent)
    with atomic_file(path) as file:
        pq.write_table(table, file)


def _concatenated(tables: list[Any]) -> Any:
    import pyarrow as pa

    return pa.concat_tables(tables, promote_options="permissive").combine_chunks()


def _table(columns: Mapping[str, Any]) -> Any:
    import numpy as np
    import pyarrow as pa

    # Lists keep None and Python integers as they are; everything else is an array, or a scalar for all rows.
    arrays = {
        name: column if isinstance(column, list) else np.asarray(column) for name, column in columns.items()
    }
    lengths = {len(array) for array in arrays.values() if isinstance(array, list) or array.ndim}
    if len(lengths) > 1:
        raise ValueError(f"columns of unlike lengths: {sorted(lengths)}")
    rows = lengths.pop() if lengths else 1
    made = {
        name: pa.array(array if isinstance(array, list) or array.ndim else [array.item()] * rows)
        for name, array in arrays.items()
    }
    table = pa.table(made)
    rounds = table["round"].cast(pa.int64())
    if rounds.null_count:
        raise ValueError("a row without its round")
    return table.set_column(table.schema.get_field_index("round"), "round", rounds)


def _scalar(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
