"""Tables and tensors by what they hold, bit for bit, however their files are laid out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fedpriv.records.tables import read_table

if TYPE_CHECKING:
    import pyarrow as pa
    import torch

ABSENT = "absent"


def content_of_table(path: Path, *, without: Sequence[str]) -> "pa.Table":
    """A finished table, less these columns."""
    table: pa.Table = read_table(path.parent, path.stem)
    return table.drop_columns([name for name in without if name in table.column_names])


def first_cell(then: "pa.Table", now: "pa.Table") -> dict[str, Any] | None:
    """``place``, ``was`` and ``now`` of the first row with an unlike cell; None: columns and rows are the same.

    The order of columns does not count. Floats are compared by their bits.
    """
    for name in dict.fromkeys([*then.column_names, *now.column_names]):
        kinds = [str(t.schema.field(name).type) if name in t.column_names else ABSENT for t in (then, now)]
        if kinds[0] != kinds[1]:
            return {"place": f"column {name}", "was": kinds[0], "now": kinds[1]}
    rows = min(then.num_rows, now.num_rows)
    unlike = {name: _unlike(then[name][:rows], now[name][:rows]) for name in then.column_names}
    firsts = {name: int(where.argmax()) for name, where in unlike.items() if where.any()}
    if firsts:
        name = min(firsts, key=lambda column: firsts[column])
        row = firsts[name]
        keys = [key for key in ("round", "client") if key in then.column_names and key != name]
        place = ", ".join([*(f"{key} {then[key][row].as_py()}" for key in keys), f"column {name}"])
        return {"place": place, "was": then[name][row].as_py(), "now": now[name][row].as_py()}
    if then.num_rows != now.num_rows:
        return {"place": "number of rows", "was": then.num_rows, "now": now.num_rows}
    return None


def _unlike(then: "pa.ChunkedArray", now: "pa.ChunkedArray") -> np.ndarray:
    """Mask of the entries, of one type, that differ."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_null(then.type):
        return np.zeros(len(then), dtype=np.bool_)
    missing = then.is_null().to_numpy() != now.is_null().to_numpy()
    if pa.types.is_floating(then.type):
        bits = [_bits(column.fill_null(0.0).to_numpy()) for column in (then, now)]
        return np.asarray(missing | (bits[0] != bits[1]))
    return np.asarray(missing | pc.fill_null(pc.not_equal(then, now), False).to_numpy())


def _bits(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")


def content_of_tensors(path: Path) -> "dict[str, torch.Tensor]":
    """The tensors of a safetensors file.

    Raises:
        ValueError: it is none.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return dict(load(path.read_bytes()))
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def first_entry(then: "Mapping[str, torch.Tensor]", now: "Mapping[str, torch.Tensor]") -> dict[str, Any] | None:
    """``place``, ``was`` and ``now`` of the first entry with other bits; None: all are the same."""
    for name in dict.fromkeys([*then, *now]):
        pair = [tensors.get(name) for tensors in (then, now)]
        kinds = [ABSENT if t is None else f"{t.dtype} {list(t.shape)}" for t in pair]
        if kinds[0] != kinds[1]:
            return {"place": f"tensor {name}", "was": kinds[0], "now": kinds[1]}
        before, after = then[name], now[name]
        unlike = (_bytes(before) != _bytes(after)).any(axis=1)
        if unlike.any():
            place = np.unravel_index(int(unlike.argmax()), tuple(before.shape))
            index = [int(number) for number in place]
            values = before[tuple(index)].item(), after[tuple(index)].item()
            return {"place": f"tensor {name}, entry {index}", "was": values[0], "now": values[1]}
    return None


def _bytes(tensor: "torch.Tensor") -> np.ndarray:
    """Shape (entries, bytes of one)."""
    import torch

    raw: np.ndarray = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
    return raw.reshape(-1, tensor.element_size())
