"""The idx format of MNIST (http://yann.lecun.com/exdb/mnist), gzipped or not.

Two zero bytes, a type code, the number of dimensions, each dimension as a big-endian uint32, then the values.
"""

import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fedpriv.data.checks import check_features, check_labels, check_length, check_users
from fedpriv.data.dataset import Array, Dataset, Normalisation
from fedpriv.data.sources.files import FilePart, check_distinct, dataset_from_files, read_bytes, resolve
from fedpriv.data.sources.split import TestBy
from fedpriv.errors import ConfigError, DataError

_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP_MAGIC = b"\x1f\x8b"


def idx(
    *,
    root: str | None,
    path: str | None,
    label: str | None,
    label_column: int | None,
    user: str | None,
    user_column: int | None,
    test_path: str | None,
    test_label: str | None,
    test_fraction: float,
    test_by: TestBy,
    public: bool,
    num_classes: int | None,
    scale: float,
    mean: float | Sequence[float],
    std: float | Sequence[float],
    rng: np.random.Generator,
) -> Dataset:
    """Examples, labels and, where known, user ids from idx files.

    Args:
        root: folder where relative paths start; None: the current one.
        path: examples, (n, height, width) images (a channel is added), (n, features), or (n, channels, ...).
        label: class labels, (n,), or (n, columns) with ``label_column``.
        label_column, user_column: which column of a two-dimensional file; None for one-dimensional files.
        user: integer user ids, like ``label``; None where unknown. (QMNIST's column 2 is the writer.)
        test_path, test_label: test examples; None: ``test_fraction`` of ``path``, stratified by class.
        num_classes: None: labels must be exactly 0 ... K-1.
        test_by: ``example``, or ``user``: whole users are for the test.
        public: whether everybody may see these examples.
        scale, mean, std: public constants, see ``Normalisation``.

    Raises:
        DataError: a missing, truncated or unsuitable file.
        ConfigError: a file that isn't named, or only one of the two test files.
    """
    if (test_path is None) != (test_label is None):
        raise ConfigError(
            "Set both data.test_path and data.test_label, or neither (data.test_fraction is split off)."
        )

    if test_path is not None:
        named = {"data.path": path, "data.test_path": test_path}
        check_distinct([resolve(path=name, root=root, key=key) for key, name in named.items()])

    def read(images: str | None, labels: str | None, users: str | None, prefix: str) -> FilePart:
        image_file = resolve(path=images, root=root, key=f"data.{prefix}path")
        label_file = resolve(path=labels, root=root, key=f"data.{prefix}label")
        source = f"The labels in {label_file}"
        x = _as_examples(read_idx(image_file), where=f"The examples in {image_file}")
        y = check_labels(_column(label_file, label_column, "label"), where=source, num_classes=num_classes)
        check_length(source, len(y), len(x))
        if users is None:
            return FilePart(x=x, labels=y, users=None, label_source=source)
        user_file = resolve(path=users, root=root, key="data.user")
        ids = check_users(_column(user_file, user_column, "user"), where=f"The user ids in {user_file}")
        check_length(f"The user ids in {user_file}", len(ids), len(x))
        return FilePart(x=x, labels=y, users=ids, label_source=source)

    return dataset_from_files(
        train=read(path, label, user, ""),
        read_test=None if test_path is None else lambda: read(test_path, test_label, None, "test_"),
        num_classes=num_classes,
        normalisation=Normalisation(scale=scale, mean=mean, std=std),
        test_fraction=test_fraction,
        test_by=test_by,
        public=public,
        rng=rng,
    )


def read_idx(file: Path) -> Array:
    """The array in an idx file, in native byte order.

    Raises:
        DataError: not an idx file, truncated, or with bytes left over.
    """
    content = read_bytes(file)
    if content.startswith(_GZIP_MAGIC):
        try:
            content = gzip.decompress(content)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(
                f"{file} is a damaged or truncated gzip file ({error}): fetch it again."
            ) from error
    code, ndim = (content[2], content[3]) if len(content) >= 4 else (0, 0)
    if content[:2] != b"\0\0" or code not in _DTYPES or ndim == 0:
        raise DataError(
            f"{file} is not an idx file (it starts with {content[:4].hex() or 'nothing'}): "
            "give a file in the MNIST format, gzipped or not, or use data=arrays for npz."
        )
    header = 4 + 4 * ndim
    dtype = np.dtype(_DTYPES[code])
    shape = tuple(int(n) for n in np.frombuffer(content[4:header], ">u4")) if len(content) >= header else ()
    expected = header + math.prod(shape) * dtype.itemsize
    if len(shape) != ndim or len(content) != expected:
        raise DataError(
            f"{file} announces shape {shape or 'unknown'} ({expected} bytes) but has {len(content)} bytes: "
            "it is truncated or damaged; fetch it again."
        )
    values = np.frombuffer(content, dtype, offset=header).reshape(shape)
    return values.astype(dtype.newbyteorder("="), copy=False)


def _as_examples(x: Array, *, where: str) -> Array:
    if x.ndim == 1:
        raise DataError(f"{where} have one dimension: data.path is the examples, data.label the labels.")
    check_features(x, where=where)
    return x[:, np.newaxis] if x.ndim == 3 else x


def _column(file: Path, column: int | None, key: str) -> Array:
    table = read_idx(file)
    if table.ndim == 1 and column is None:
        return table
    if table.ndim != 2 or column is None or not 0 <= column < table.shape[1]:
        columns = f"0 ... {table.shape[1] - 1}" if table.ndim == 2 else "null"
        raise DataError(
            f"{file} (data.{key}) has shape {table.shape}, and data.{key}_column is "
            f"{'null' if column is None else column}: choose data.{key}_column={columns}, or another file."
        )
    return table[:, column]
