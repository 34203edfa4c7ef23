"""Proposes a block for ``data=arrays``."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fedpriv.data.dataset import Array
from fedpriv.data.proposals.constants import constants
from fedpriv.data.proposals.proposal import Proposal
from fedpriv.data.proposals.yaml_text import scalar
from fedpriv.errors import DataError

_USER_NAMES = ("user", "users", "subject", "subjects", "client", "clients", "writer", "speaker")


def recognises(path: Path) -> bool:
    """A zip archive of arrays."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return bool(archive.namelist()) and all(name.endswith(".npy") for name in archive.namelist())


def propose(path: Path, *, label: str | None, user: str | None) -> Proposal:
    """Examples are the largest array of two dimensions and more; labels whole numbers, one for each."""
    arrays = _read(path)
    for key, name in (("--label", label), ("--user", user)):
        if name is not None and name not in arrays:
            raise DataError(f"{path} has no array {name!r} ({key}); it has: {', '.join(arrays)}.")
    examples = [name for name, array in arrays.items() if array.ndim >= 2 and array.dtype.kind in "biuf" and array.size]
    if not examples:
        raise DataError(f"{path} has no array of examples (n, features, ...): it has {', '.join(arrays) or 'nothing'}.")
    features = max(examples, key=lambda name: arrays[name].size)
    x = arrays[features]
    ids = [n for n, a in arrays.items() if a.shape == (len(x),) and a.dtype.kind in "iu" and n not in (features, user)]
    found_user = user or next((name for name in ids if name in _USER_NAMES), None)
    ids = [name for name in ids if name != found_user]
    found_label = label or next(iter(sorted(ids, key=lambda name: (name not in ("y", "label", "labels"), name))), None)
    if found_label is None:
        raise DataError(f"{path} has no array of class labels (whole numbers, {len(x):,}): name it by --label.")
    scaled = constants(x)
    uses = {features: "examples", found_label: "labels", found_user: "users"}
    return Proposal(
        facts=[("arrays", f"{path} (npz)"), ("examples", f"{len(x):,}")],
        header=("array", "shape", "dtype", "proposed use"),
        rows=[(name, str(a.shape), str(a.dtype), uses.get(name, "")) for name, a in arrays.items()],
        notes=[] if label is not None else [f"The label is a guess: {found_label!r}. Choose another by --label NAME."],
        source="arrays",
        keys=(
            f"path: {scalar(str(path))}\nfeatures: {scalar(features)}\nlabel: {scalar(found_label)}\n"
            f"user: {scalar(found_user)}\n{scaled.keys}"
        ),
        fitted=scaled.fitted,
        model="logistic",
        natural=found_user is not None,
    )


def _read(path: Path) -> Mapping[str, Array]:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as content:
            return {name: content[name] for name in content.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not a readable npz file of plain arrays ({error}).") from error
