"""Paths from the config, and datasets made of files."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedpriv.data.checks import infer_num_classes
from fedpriv.data.dataset import Array, Dataset, Examples, IntArray, Normalisation
from fedpriv.data.sources.split import TestBy, split_dataset
from fedpriv.errors import ConfigError, DataError


def resolve(*, path: str | None, root: str | None, key: str) -> Path:
    """An existing file; a relative path starts at ``root`` where there is one, else at the current folder.

    Raises:
        ConfigError: no path given.
        DataError: no such file.
    """
    return _existing(path=path, root=root, key=key, kind="file", is_there=Path.is_file)


def resolve_folder(*, path: str | None, root: str | None, key: str) -> Path:
    """As ``resolve``, for a folder."""
    return _existing(path=path, root=root, key=key, kind="folder", is_there=Path.is_dir)


def _existing(*, path: str | None, root: str | None, key: str, kind: str, is_there: Callable[[Path], bool]) -> Path:
    if not path:
        example = "folder/file" if kind == "file" else "folder"
        raise ConfigError(f"{key} is not set: give the {kind}, e.g. {key}={example}.")
    found = Path(root or "").expanduser() / Path(path).expanduser()
    if not is_there(found):
        mend = "" if Path(path).expanduser().is_absolute() else f" and {_root_told(root)}"
        raise DataError(f"There is no {kind} {found}. Check {key}{mend}.{_one_folder_too_deep(path, root, is_there)}")
    return found


def _root_told(root: str | None) -> str:
    return f"data.root={root!r}" if root else "data.root=DIR (where relative paths start)"


def _one_folder_too_deep(path: str, root: str | None, is_there: Callable[[Path], bool]) -> str:
    """A hint where the root, or the current folder, is already the folder with which the path starts."""
    named, base = Path(path).expanduser(), Path(root or "").expanduser()
    above = Path(os.path.normpath(base / ".."))
    if named.is_absolute():
        return ""
    if is_there(above / named):
        return f" It is there with data.root='{above}'."
    if len(named.parts) > 1 and named.parts[0] == base.resolve().name:
        return f" The root ends with {named.parts[0]!r} already, as the path starts: perhaps data.root='{above}'."
    return ""


def check_distinct(paths: Sequence[Path]) -> None:
    """No file or folder twice: its examples would be two clients', or train what they test.

    Raises:
        DataError: naming it.
    """
    known: set[Path] = set()
    for path in paths:
        if (real := path.resolve()) in known:
            raise DataError(
                f"{path} is named twice, so that its examples would belong to two clients, or be training and test "
                "examples at once: name every file once (data.path, data.test_path)."
            )
        known.add(real)


def read_bytes(file: Path) -> bytes:
    """The content of a file; DataError where it can't be read."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"Cannot read {file}: {error.strerror or error}.") from error


@dataclass(frozen=True, eq=False, kw_only=True)
class FilePart:
    """One checked part (training or test) of a dataset that was read from files."""

    x: Array
    labels: IntArray
    users: IntArray | None
    label_source: str


def dataset_from_files(
    *,
    train: FilePart,
    read_test: Callable[[], FilePart] | None,
    num_classes: int | None,
    normalisation: Normalisation,
    test_fraction: float,
    test_by: TestBy,
    public: bool,
    rng: np.random.Generator,
) -> Dataset:
    """The parts as a dataset; without a test part, one is split off from the training part."""
    if num_classes is None:
        num_classes = infer_num_classes(train.labels, where=train.label_source)
    if read_test is None:
        return split_dataset(
            x=train.x,
            labels=train.labels,
            users=train.users,
            num_classes=num_classes,
            normalisation=normalisation,
            test_fraction=test_fraction,
            test_by=test_by,
            groups={},
            public=public,
            rng=rng,
        )
    test = read_test()
    return Dataset(
        train=Examples(train.x, train.labels),
        test=Examples(test.x, test.labels),
        users=train.users,
        num_classes=num_classes,
        normalisation=normalisation,
        public=public,
    )
