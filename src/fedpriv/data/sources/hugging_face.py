"""Datasets of the Hugging Face library ``datasets``: a folder on disk, or a name on the hub."""

import importlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from fedpriv.data.checks import check_features, check_labels, check_length, check_users
from fedpriv.data.dataset import Array, Dataset, IntArray, Normalisation
from fedpriv.data.sources.files import FilePart, dataset_from_files, resolve_folder
from fedpriv.data.sources.pixels import Channels, stack
from fedpriv.data.sources.split import TestBy
from fedpriv.errors import ConfigError, DataError


def huggingface(
    *,
    root: str | None,
    path: str | None,
    name: str | None,
    subset: str | None,
    revision: str | None,
    train_split: str,
    test_split: str | None,
    features: str | Sequence[str],
    label: str,
    user: str | None,
    channels: Channels,
    size: Sequence[int] | None,
    test_fraction: float,
    test_by: TestBy,
    public: bool,
    num_classes: int | None,
    scale: float,
    mean: float | Sequence[float],
    std: float | Sequence[float],
    rng: np.random.Generator,
) -> Dataset:
    """Images, x uint8 (n, channels, height, width), or numbers, x (n, features) or of the column's own shape.

    Args:
        root: folder where relative paths start; None: the current one.
        path: folder that ``save_to_disk`` wrote; nothing is fetched.
        name: or a dataset on the hub: taken from the local cache, else fetched.
        subset: which configuration of ``name``; None: its only one.
        revision: which commit, branch or tag of ``name``; give a commit, so that the data stays the same.
        train_split, test_split: names of splits; without a test split, ``test_fraction`` is split off. A folder may
            hold a single split, whose name is not looked at.
        features: an image column, a column of numeric arrays, or numeric columns.
        label: column of classes: whole numbers, class labels, or texts (numbered in the order of their names).
        user: column of user ids, whole numbers or texts; None where unknown.
        channels: of images: 1 for grey, 3 for RGB.
        size: images are resized to (height, width); None: they have one size already.
        test_by: ``example``, or ``user``: whole users are for the test.
        public: whether everybody may see these examples.
        num_classes: None: as the label column says, else labels must be exactly 0 ... K-1.
        scale, mean, std: public constants, see ``Normalisation``.

    Raises:
        DataError: nothing there, a missing split or column, or values that can't be trained on.
        ConfigError: ``datasets`` is not installed, or not exactly one of ``path`` and ``name``.
    """
    if (path is None) == (name is None):
        raise ConfigError(
            "Set data.path (a folder that save_to_disk wrote) or data.name (a dataset on the hub), one of the two."
        )
    if test_split == train_split:
        raise ConfigError(f"data.test_split={test_split} is the training split: name another, or null.")
    library = _library()
    if path is not None:
        folder = resolve_folder(path=path, root=root, key="data.path")
        where, loaded = str(folder), _loaded(lambda: library.load_from_disk(str(folder)), _NOT_SAVED.format(folder))
    else:
        where = f"The dataset {name}"
        loaded = _loaded(lambda: library.load_dataset(name, subset, revision=revision), _NOT_ON_HUB.format(name))

    columns = _split(loaded, train_split, "data.train_split", where)
    names = _class_names(columns, label, library, where)
    if num_classes is None and names is not None:
        num_classes = len(names)

    def read(table: Any, user_column: str | None) -> FilePart:
        source = f"{where}: the labels {label!r}"
        x = _features(table, features, library=library, channels=channels, size=size, where=where)
        y = check_labels(_labels(table, label, names, where), where=source, num_classes=num_classes)
        check_length(source, len(y), len(x))
        users = None if user_column is None else _user_ids(_column(table, user_column, "data.user", where), user_column)
        return FilePart(x=x, labels=y, users=users, label_source=source)

    def read_test() -> FilePart:
        return read(_split(loaded, str(test_split), "data.test_split", where), None)

    return dataset_from_files(
        train=read(columns, user),
        read_test=None if test_split is None else read_test,
        num_classes=num_classes,
        normalisation=Normalisation(scale=scale, mean=mean, std=std),
        test_fraction=test_fraction,
        test_by=test_by,
        public=public,
        rng=rng,
    )


_NOT_SAVED = "{} is no dataset that can be read: write it with Dataset.save_to_disk"
_NOT_ON_HUB = "The dataset {} could not be loaded (that needs the network, once): check data.name and data.subset"


def _library() -> Any:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        return importlib.import_module("datasets")
    except ImportError as error:
        raise ConfigError("data=huggingface needs datasets: pip install 'fedpriv[huggingface]'.") from error


def _loaded(load: Any, message: str) -> Any:
    try:
        return load()
    except Exception as error:  # many kinds, of several libraries
        reason = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
        raise DataError(f"{message} ({reason}).") from error


def _split(loaded: Any, split: str, key: str, where: str) -> Any:
    if not isinstance(loaded, dict):  # a single split
        if key == "data.train_split":
            return loaded
        raise DataError(
            f"{where} is a single split: set data.test_split=null, so that data.test_fraction is split off."
        )
    if split not in loaded:
        raise DataError(f"{where} has no split {split!r} (it has: {', '.join(loaded)}): set {key} to one of them.")
    return loaded[split]


def _column(table: Any, name: str, key: str, where: str) -> Any:
    """All values of a column: an array, or a list of what is no number."""
    if name not in table.column_names:
        raise DataError(
            f"{where} has no column {name!r} (it has: {', '.join(table.column_names)}): set {key} to one of them."
        )
    return table.with_format("numpy")[name][:]


def _class_names(table: Any, label: str, library: Any, where: str) -> list[str] | None:
    """Names of the classes in order; None where labels are numbers without names."""
    kind = table.features.get(label)
    if isinstance(kind, library.ClassLabel):
        return list(kind.names)
    values = np.asarray(_column(table, label, "data.label", where))
    return sorted(set(_texts(values, f"{where}: the labels {label!r}"))) if values.dtype.kind in "OUS" else None


def _labels(table: Any, label: str, names: list[str] | None, where: str) -> Array:
    values = np.asarray(_column(table, label, "data.label", where))
    if names is None or values.dtype.kind not in "OUS":
        return values.astype(np.int64) if values.dtype.kind == "b" else values
    number = {name: i for i, name in enumerate(names)}
    texts = _texts(values, f"{where}: the labels {label!r}")
    if unknown := set(texts) - set(names):
        raise DataError(f"{where}: the test label {min(unknown)!r} in {label!r} does not occur in training.")
    return np.array([number[text] for text in texts], np.int64)


def _texts(values: Array, where: str) -> list[str]:
    texts = values.ravel().tolist()
    if any(not isinstance(text, str) for text in texts):
        raise DataError(f"{where} are not all texts or whole numbers (some are missing): mend or remove such rows.")
    return texts


def _user_ids(values: Any, name: str) -> IntArray:
    where = f"The user ids {name!r}"
    ids = np.asarray(values)
    if ids.dtype.kind in "OUS":
        return np.unique(_texts(ids, where), return_inverse=True)[1].astype(np.int64)
    return check_users(ids, where=where)


def _features(
    table: Any,
    features: str | Sequence[str],
    *,
    library: Any,
    channels: Channels,
    size: Sequence[int] | None,
    where: str,
) -> Array:
    names = [features] if isinstance(features, str) else list(features)
    if not names:
        raise ConfigError("data.features is empty: name an image column, or numeric columns.")
    if len(names) == 1 and isinstance(table.features.get(names[0]), library.Image):
        images = ((f"{where}: image {row}", image) for row, image in enumerate(_decoded(table, names[0], where)))
        return stack(images, count=len(table), channels=channels, size=size)
    arrays = [np.asarray(_column(table, name, "data.features", where)) for name in names]
    for name, array in zip(names, arrays, strict=True):
        if array.dtype.kind not in "biuf" or (array.ndim > 1 and len(names) > 1):
            raise DataError(
                f"{where}: the column {name!r} is not numeric, has gaps, or its rows differ in length: choose images, "
                "arrays of one shape, or columns of numbers (data.features)."
            )
    x: Array = np.column_stack(arrays) if arrays[0].ndim == 1 else arrays[0]
    check_features(x, where=f"{where}: the features {', '.join(names)}")
    return x


def _told(error: Exception) -> str:
    """Pillow names the buffer in memory that held an image of unknown format."""
    return "unknown format" if "<_io.BytesIO" in str(error) else str(error)


def _decoded(table: Any, name: str, where: str) -> Any:
    """Images one by one."""
    for row in range(len(table)):
        try:
            image = table[row][name]
        except Exception as error:
            raise DataError(f"{where}: image {row} in {name!r} cannot be read ({_told(error)}): remove it.") from error
        if image is None:
            raise DataError(f"{where}: image {row} in {name!r} is missing: remove such rows.")
        yield image
