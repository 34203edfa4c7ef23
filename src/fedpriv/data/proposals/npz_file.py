"""Proposes a block for an npz file: ``data=windows`` for recordings of sensors, else ``data=arrays``."""

import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from re import Pattern

import numpy as np

from fedpriv.data.checks import check_features, check_length, check_users
from fedpriv.data.dataset import Array
from fedpriv.data.proposals import names
from fedpriv.data.proposals.constants import constants
from fedpriv.data.proposals.labels import num_classes_key
from fedpriv.data.proposals.proposal import Proposal
from fedpriv.data.proposals.recordings import Recordings, find_recordings, in_long_stretches
from fedpriv.data.proposals.yaml_text import scalar
from fedpriv.errors import DataError

_MOST_CLASSES = 100


@dataclass(frozen=True, eq=False, kw_only=True)
class _Roles:
    """Names of the arrays."""

    features: str
    label: str
    user: str | None
    recording: str | None


def recognises(path: Path) -> bool:
    """A zip archive of arrays."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return bool(archive.namelist()) and all(name.endswith(".npy") for name in archive.namelist())


def propose(path: Path, *, label: str | None, user: str | None) -> Proposal:
    """Examples are the largest array of two dimensions and more; labels whole numbers, one for each."""
    arrays = _read(path)
    roles = _roles(arrays, path, label=label, user=user)
    x, y = arrays[roles.features], arrays[roles.label]
    check_features(x, where=f"{path}: the examples {roles.features!r}")
    check_length(f"{path}: the labels {roles.label!r}", len(y), len(x))
    num_classes = num_classes_key(y, file=path, name=roles.label)
    if roles.user is not None:
        check_length(f"{path}: the users {roles.user!r}", len(arrays[roles.user]), len(x))
        check_users(arrays[roles.user], where=f"{path}: the users {roles.user!r}")
    found = find_recordings(
        x=x,
        labels=y,
        users=None if roles.user is None else arrays[roles.user],
        ids=None if roles.recording is None else arrays[roles.recording],
    )
    scaled = constants(x)
    keys = (
        f"path: {scalar(str(path))}\nfeatures: {scalar(roles.features)}\nlabel: {scalar(roles.label)}\n"
        f"user: {scalar(roles.user)}\n"
    )
    if found is None:
        what, keys = f"a row of {roles.features!r}", keys + num_classes + scaled.keys
    else:
        what, keys = found.example, keys + _window_keys(found, roles) + num_classes + scaled.mean_and_std
    uses = {roles.features: "examples" if found is None else "readings", roles.label: "labels", roles.user: "users"}
    if found is not None:
        uses[roles.recording] = "recordings"
    notes = [] if label is not None else [f"The label is a guess: {roles.label!r}. Choose another by --label NAME."]
    if found is None and x.ndim == 2 and in_long_stretches(y) and (np.diff(y.astype(np.int64)) < 0).any():
        notes.append(_MAYBE_WINDOWS)
    return Proposal(
        facts=[("arrays", f"{path} (npz)"), ("examples" if found is None else "readings", f"{len(x):,}")]
        + ([] if found is None else [("recordings", f"{found.count:,}")])
        + [("an example", f"{what}: what privacy=example protects")],
        header=("array", "shape", "dtype", "proposed use"),
        rows=[(name, str(a.shape), str(a.dtype), uses.get(name, "")) for name, a in arrays.items()],
        notes=notes,
        source="arrays" if found is None else "windows",
        keys=keys,
        fitted=scaled.fitted,
        model="logistic" if found is None else "lstm",
        natural=roles.user is not None,
    )


_MAYBE_WINDOWS = (
    "Labels come in long stretches. If the rows are a sensor's readings in the order of time, use data=windows: see "
    "docs/data/sequences.md."
)


def _window_keys(found: Recordings, roles: _Roles) -> str:
    """What ``data=windows`` needs beside arrays."""
    return (
        f"recording: {scalar(roles.recording)}\nlength: {found.length}  # readings of a window, which is an example\n"
        f"stride: {found.length}\ntest_by: {found.test_by}  # whole ones are the test\n"
    )


def _roles(arrays: Mapping[str, Array], path: Path, *, label: str | None, user: str | None) -> _Roles:
    for key, name in (("--label", label), ("--user", user)):
        if name is not None and name not in arrays:
            raise DataError(f"{path} has no array {name!r} ({key}); it has: {', '.join(arrays)}.")
    examples = [name for name, array in arrays.items() if array.ndim >= 2 and array.dtype.kind in "biuf" and array.size]
    if not examples:
        raise DataError(f"{path} has no array of examples (n, features, ...): it has {', '.join(arrays) or 'nothing'}.")
    features = max(examples, key=lambda name: arrays[name].size)
    count = len(arrays[features])
    ids = {n for n, a in arrays.items() if a.shape == (count,) and a.dtype.kind in "iu"} - {features, label, user}
    recording = _named(ids, names.RECORDING)
    user = user or _named(ids, names.USER)
    ids -= {user, recording}
    label = label or _named(ids, names.LABEL)
    if label is None:
        few = sorted(name for name in ids if len(np.unique(arrays[name])) <= _MOST_CLASSES)
        if not few:
            shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
            raise DataError(
                f"{path} has no array of class labels (whole numbers, {count:,}, at most {_MOST_CLASSES} distinct): it "
                f"has {shapes}. Name it by --label."
            )
        label = few[0]
    return _Roles(features=features, label=label, user=user, recording=recording)


def _named(candidates: set[str], pattern: Pattern[str]) -> str | None:
    return next((name for name in sorted(candidates) if pattern.fullmatch(name)), None)


def _read(path: Path) -> Mapping[str, Array]:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as content:
            return {name: content[name] for name in content.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is not a readable npz file of plain arrays ({error}).") from error
