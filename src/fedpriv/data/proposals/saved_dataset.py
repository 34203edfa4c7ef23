"""Proposes a block for ``data=huggingface``: a folder that ``save_to_disk`` wrote; read without its library."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fedpriv.data.proposals.constants import constants
from fedpriv.data.proposals.labels import NOTHING_TO_LEARN
from fedpriv.data.proposals.proposal import Proposal
from fedpriv.data.proposals.yaml_text import flow, scalar
from fedpriv.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

_SPLITS, _INFO, _STATE = "dataset_dict.json", "dataset_info.json", "state.json"
_LABEL_NAMES = ("label", "labels", "target", "y", "class")


def recognises(path: Path) -> bool:
    """A folder with the library's own files."""
    return path.is_dir() and any((path / name).is_file() for name in (_SPLITS, _STATE))


def propose(path: Path, *, label: str | None, user: str | None) -> Proposal:
    """Features are the first image column, else all numeric columns."""
    splits = _json(path / _SPLITS)["splits"] if (path / _SPLITS).is_file() else []
    train = "train" if "train" in splits or not splits else splits[0]
    test = "test" if "test" in splits and train != "test" else None
    folder = path / train if splits else path
    features: Mapping[str, Any] = _json(folder / _INFO)["features"]
    for name, key in ((label, "--label"), (user, "--user")):
        if name is not None and name not in features:
            raise DataError(f"{path} has no column {name!r} ({key}); it has: {', '.join(features)}.")
    classes = [name for name, kind in features.items() if kind.get("_type") == "ClassLabel"]
    target = label or next((name for name in (*classes, *_LABEL_NAMES) if name in features and name != user), None)
    if target is None:
        raise DataError(f"{path} has no column of classes: name it by --label COLUMN.")
    others = {name: kind for name, kind in features.items() if name not in (target, user)}
    image = next((name for name, kind in others.items() if kind.get("_type") == "Image"), None)
    numeric = [name for name, kind in others.items() if str(kind.get("dtype")).startswith(("int", "uint", "float"))]
    if image is None and not numeric:
        raise DataError(f"{path} has no column of images or numbers to learn from: it has {', '.join(features)}.")
    if len(_columns(folder, [target]).column(target).unique().drop_null()) < 2:
        raise DataError(
            f"{path}: the label {target!r} has one class only: {NOTHING_TO_LEARN}. Choose another by --label."
        )
    scaled = None if image is not None else constants(_numbers(folder, numeric))
    uses = {target: "label", user: "user"} | dict.fromkeys(numeric if image is None else [image], "examples")
    kinds = {name: str(kind.get("dtype") or kind.get("_type")) for name, kind in features.items()}
    return Proposal(
        facts=[("dataset", f"{path} (save_to_disk)"), ("splits", ", ".join(splits) or "one")],
        header=("column", "kind", "proposed use"),
        rows=[(name, kinds[name], uses.get(name, "left out")) for name in features],
        notes=[] if label is not None else [f"The label is a guess: {target!r}. Choose another by --label COLUMN."],
        source="huggingface",
        keys=(
            f"path: {scalar(str(path))}\ntrain_split: {scalar(train)}\ntest_split: {scalar(test)}\n"
            f"features: {scalar(image) if image is not None else flow(numeric)}\nlabel: {scalar(target)}\n"
            f"user: {scalar(user)}\n{'' if scaled is None else scaled.keys}"
        ),
        fitted=scaled is not None and scaled.fitted,
        model="logistic",
        natural=user is not None,
    )


def _numbers(folder: Path, columns: list[str]) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """The columns, float64 (rows, columns)."""
    table = _columns(folder, columns)
    return np.stack([table.column(name).to_numpy().astype(np.float64) for name in columns], axis=1)


def _columns(folder: Path, columns: list[str]) -> "pa.Table":
    import pyarrow as pa

    try:
        names = [part["filename"] for part in _json(folder / _STATE)["_data_files"]]
        parts = [pa.ipc.open_stream(pa.memory_map(str(folder / name))).read_all().select(columns) for name in names]
        return pa.concat_tables(parts)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise DataError(f"{folder} is damaged ({error}): write it again by save_to_disk.") from error


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read ({error}): write the folder again by save_to_disk.") from error
