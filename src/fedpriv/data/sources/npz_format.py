"""Arrays from a numpy .npz file. Pickled objects are never loaded."""

import io
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fedpriv.data.checks import check_features, check_labels, check_length, check_users
from fedpriv.data.dataset import Array, Dataset, Normalisation
from fedpriv.data.sources.files import FilePart, check_distinct, dataset_from_files, read_bytes, resolve
from fedpriv.data.sources.split import TestBy
from fedpriv.errors import DataError


def arrays(
    *,
    root: str | None,
    path: str | None,
    features: str,
    label: str,
    user: str | None,
    test_path: str | None,
    test_fraction: float,
    test_by: TestBy,
    public: bool,
    num_classes: int | None,
    scale: float,
    mean: float | Sequence[float],
    std: float | Sequence[float],
    rng: np.random.Generator,
) -> Dataset:
    """Examples, labels and, where known, user ids from one npz file.

    Args:
        root: folder where relative paths start; None: the current one.
        path: the npz file.
        features: key of the examples, real numbers, (n, features) or (n, channels, ...), kept in their dtype.
        label: key of the class labels, whole numbers, (n,).
        user: key of the integer user ids, (n,); None where unknown.
        test_path: npz with the test examples under the same keys; None: ``test_fraction`` of ``path``.
        num_classes: None: labels must be exactly 0 ... K-1.
        test_by: ``example``, or ``user``: whole users are for the test.
        public: whether everybody may see these examples.
        scale, mean, std: public constants, see ``Normalisation``.

    Raises:
        DataError: a missing or broken file, a missing key, or arrays that can't be trained on.
        ConfigError: no file named.
    """

    if test_path is not None:
        named = {"data.path": path, "data.test_path": test_path}
        check_distinct([resolve(path=name, root=root, key=key) for key, name in named.items()])

    def read(name: str | None, user_key: str | None, setting: str) -> FilePart:
        file = resolve(path=name, root=root, key=setting)
        content = Npz(file)
        source = f"{file}: the labels {label!r}"
        x = content.get(features, "data.features")
        check_features(x, where=f"{file}: the examples {features!r}")
        y = check_labels(content.get(label, "data.label"), where=source, num_classes=num_classes)
        check_length(source, len(y), len(x))
        if user_key is None:
            return FilePart(x=x, labels=y, users=None, label_source=source)
        where = f"{file}: the user ids {user_key!r}"
        users = check_users(content.get(user_key, "data.user"), where=where)
        check_length(where, len(users), len(x))
        return FilePart(x=x, labels=y, users=users, label_source=source)

    return dataset_from_files(
        train=read(path, user, "data.path"),
        read_test=None if test_path is None else lambda: read(test_path, None, "data.test_path"),
        num_classes=num_classes,
        normalisation=Normalisation(scale=scale, mean=mean, std=std),
        test_fraction=test_fraction,
        test_by=test_by,
        public=public,
        rng=rng,
    )


class Npz:
    """An npz file whose every fault is a DataError."""

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            content = np.load(io.BytesIO(read_bytes(file)), allow_pickle=False)
        except (zipfile.BadZipFile, ValueError, EOFError, OSError, RuntimeError) as error:
            raise DataError(
                f"{file} is not a readable npz file: write it with numpy.savez(file, x=..., y=...)."
            ) from error
        if not isinstance(content, np.lib.npyio.NpzFile):
            raise DataError(
                f"{file} holds a single array: write x and y together with numpy.savez(file, x=..., y=...)."
            )
        self._content = content

    def get(self, key: str, setting: str) -> Array:
        """The array under a key; ``setting`` is the config key that named it."""
        if key not in self._content.files:
            raise DataError(
                f"{self._file} has no array {key!r} (it has: {', '.join(self._content.files) or 'none'}): "
                f"set {setting} to one of them."
            )
        try:
            array: Array = self._content[key]
        except ValueError as error:  # what allow_pickle=False raises for object arrays
            raise DataError(
                f"{self._file}: the array {key!r} has Python objects or is damaged ({error}): "
                "store plain numbers."
            ) from error
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
            raise DataError(
                f"{self._file}: the array {key!r} is damaged ({error}): write the file again."
            ) from error
        return array
