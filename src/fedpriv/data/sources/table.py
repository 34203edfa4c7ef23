"""Tables in CSV or Parquet files. Every constant that shapes a feature is public config; none is fitted here."""

import glob
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fedpriv.data.dataset import Dataset, Examples, IntArray
from fedpriv.data.sources.files import check_distinct, resolve
from fedpriv.data.sources.split import TestBy, check_classes, split_users, stratified_split
from fedpriv.data.sources.table_columns import MISSING, Vocabulary, codes_of, codes_of_ids
from fedpriv.data.sources.table_features import make_features
from fedpriv.data.sources.table_file import TableFormat
from fedpriv.data.sources.table_labels import make_labels
from fedpriv.data.sources.table_rows import Encoded, Reader
from fedpriv.data.strata import strata
from fedpriv.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pyarrow as pa


def table(
    *,
    root: str | None,
    path: str | Sequence[str] | None,
    test_path: str | Sequence[str] | None,
    columns: Sequence[str] | None,
    delimiter: str,
    encoding: str,
    comment: str | None,
    missing: Sequence[str],
    join: str | None,
    join_on: str | None,
    label: str | None,
    classes: Sequence[Any] | None,
    label_range: Sequence[float] | None,
    time: str | None,
    event: str | None,
    numeric: Mapping[str, Any],
    categorical: Mapping[str, Any],
    impute: Mapping[str, Any],
    drop_missing: bool | Sequence[str],
    user: str | None,
    groups: Sequence[str],
    test_column: str | None,
    test_value: str | None,
    test_fraction: float,
    test_by: TestBy,
    public: bool,
    rng: np.random.Generator,
) -> Dataset:
    """Rows of a table, x float32 (n, features): numbers in [-1, 1], then categories one-hot.

    Args:
        root: folder where relative paths start; None: the current one.
        path: a CSV or Parquet file, a pattern such as ``silos/*.csv``, or a list of them. Several files without
            ``user`` are silos: each is a user, and the test part is drawn within each.
        test_path: files with the test rows.
        columns, delimiter, encoding, comment, missing: see ``TableFormat``.
        join, join_on: another file, and the column that both have; its columns are added. Rows that it
            lacks are left out.
        label: column to predict. ``classes``: its values in order, an item may be a list of values that mean the same
            class; None: the numbers 0 ... K-1. ``label_range``: public [low, high] of a number to predict.
        time, event: columns of survival data, instead of ``label``.
        numeric: column -> public [low, high]: clipped to it and mapped to [-1, 1].
        categorical: column -> public vocabulary, one-hot, and one more place for other and missing values.
        impute: column -> public constant for missing values.
        drop_missing: true: rows that lack a value in use (and not imputed) are left out; or a list of such columns.
        user: column with the id of who made the row.
        groups: sensitive columns, whether features or not; coded in the order of their vocabulary in ``categorical``
            (others last), of columns without one in the order of the values.
        test_column, test_value: rows with this value are the test part.
        test_fraction, test_by: where nothing else gives a test part, see ``split_dataset``.
        public: whether everybody may see these examples.

    Raises:
        DataError: files or values that cannot be used; names file, column and row or line.
        ConfigError: keys that are missing or contradict each other.
    """
    _check_together(test_column=test_column, test_value=test_value, test_path=test_path, join=join, join_on=join_on)
    others = {name: "data.groups" for name in groups}
    others |= {name: key for name, key in ((user, "data.user"), (test_column, "data.test_column")) if name is not None}
    reader = Reader(
        form=TableFormat(columns=columns, delimiter=delimiter, encoding=encoding, comment=comment, missing=missing),
        features=make_features(numeric=numeric, categorical=categorical, impute=impute),
        labels=make_labels(label=label, classes=classes, label_range=label_range, time=time, event=event),
        drop_missing=drop_missing,
        user=user,
        others=others,
        join=None if join is None else resolve(path=join, root=root, key="data.join"),
        join_on=join_on or "",
    )
    files = find_files(path, root=root, key="data.path")
    check_distinct(files)
    whole = reader.read(files)
    users = codes_of_ids(whole.others[user]) if user is not None else whole.silo if len(files) > 1 else None
    num_classes = reader.labels.num_classes(whole.y)
    if test_path is not None:
        tests = replace(reader, user=None, others={name: "data.groups" for name in groups})
        test_files = find_files(test_path, root=root, key="data.test_path")
        check_distinct([*files, *test_files])
        train, test = whole, tests.read(test_files)
    else:
        if test_column is not None:
            in_test = _marked(whole.others[test_column], name=test_column, value=test_value)
        elif test_by == "user":
            if users is None:
                raise ConfigError("data.test_by=user needs user ids: set data.user, or data.test_by=example.")
            in_train, in_test = split_users(users=users, test_fraction=test_fraction, rng=rng)
            check_classes(whole.y, train=in_train, test=in_test, test_by="user", otherwise="example")
        else:
            kinds = strata(whole.y, num_classes=num_classes)
            within = whole.silo * len(kinds.names) + kinds.of  # each silo gives its share
            in_test = stratified_split(labels=within, test_fraction=test_fraction, rng=rng)[1]
        in_train = np.setdiff1d(np.arange(len(whole)), in_test)
        users = None if users is None else np.unique(users[in_train], return_inverse=True)[1]
        train, test = whole.take(in_train), whole.take(in_test)
    groups_of = {name: _group(name, train, test, categorical) for name in groups}
    return Dataset(
        train=Examples(train.x, train.y),
        test=Examples(test.x, test.y),
        users=users,
        num_classes=num_classes,
        label_range=reader.labels.label_range,
        groups={name: codes for name, (codes, _) in groups_of.items()},
        group_names={name: names for name, (_, names) in groups_of.items()},
        public=public,
    )


def find_files(paths: str | Sequence[str] | None, *, root: str | None, key: str) -> list[Path]:
    """Existing files by name or pattern; relative ones start at ``root``, a pattern's files come sorted.

    Raises:
        ConfigError: none named.
        DataError: a name or a pattern without a file.
    """
    names = [paths] if isinstance(paths, str) or paths is None else list(paths)
    found: list[Path] = []
    for name in names or [None]:
        pattern = str(Path(root or "").expanduser() / Path(name or "").expanduser())
        matches = sorted(Path(match) for match in glob.glob(pattern) if Path(match).is_file())
        found += matches if glob.has_magic(pattern) and matches else [resolve(path=name, root=root, key=key)]
    return found


def _check_together(**given: Any) -> None:
    if (given["test_column"] is None) != (given["test_value"] is None):
        raise ConfigError("Set both data.test_column and data.test_value, or neither.")
    if given["test_column"] is not None and given["test_path"] is not None:
        raise ConfigError("Give data.test_path or data.test_column, not both.")
    if (given["join"] is None) != (given["join_on"] is None):
        raise ConfigError("Set both data.join and data.join_on, or neither.")


def _marked(column: "pa.Array", *, name: str, value: Any) -> IntArray:
    """Rows of the test part."""
    marked = codes_of(column, Vocabulary([value], key="data.test_value")) == 0
    if marked.all() or not marked.any():
        raise DataError(
            f"data.test_column={name}: {'every row is' if marked.all() else 'no row is'} {value!r}: "
            "check data.test_value."
        )
    return np.flatnonzero(marked)


def _group(
    name: str, train: Encoded, test: Encoded, categorical: Mapping[Any, Any]
) -> tuple[IntArray, tuple[str, ...]]:
    """Codes of a sensitive column, training rows first, and what they mean; others and missing values come last."""
    import pyarrow as pa

    column = pa.concat_arrays([train.others[name], test.others[name]])
    values = {str(key): values for key, values in categorical.items()}.get(name)
    vocabulary = Vocabulary(sorted(column.drop_null().unique().to_pylist()) if values is None else values, key=name)
    codes = codes_of(column, vocabulary)
    codes = np.where(codes == MISSING, len(vocabulary), codes)
    names = (*(str(item[0]) for item in vocabulary.items), "other or missing")
    return codes, names[: max(len(vocabulary), int(codes.max()) + 1)]
