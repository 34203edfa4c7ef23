"""A test split for data that comes without one: of examples, or of whole users."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from fedpriv.data.dataset import Array, Dataset, Examples, IntArray
from fedpriv.data.strata import strata
from fedpriv.errors import ConfigError

TestBy = Literal["example", "user"]


def stratified_split(
    *, labels: IntArray, test_fraction: float, rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """Rows (training, test), each ascending; every class gives the same fraction, to within one example.

    The test part has round(test_fraction * n) rows: the classes' exact shares are rounded down, and the
    largest remainders get one more.

    Raises:
        ConfigError: unless 0 < test_fraction < 1 leaves both parts non-empty.
    """
    total = round(test_fraction * len(labels)) if 0 < test_fraction < 1 else 0
    if not 0 < total < len(labels):
        raise ConfigError(
            f"data.test_fraction is {test_fraction}: choose one between 0 and 1 that leaves training "
            f"and test examples (there are {len(labels)} in all), or give test files."
        )
    _, class_of, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    shares = sizes * (total / len(labels))
    quota = np.floor(shares).astype(np.int64)
    quota[np.argsort(quota - shares, kind="stable")[: total - quota.sum()]] += 1
    test = [rng.permutation(np.flatnonzero(class_of == c))[: quota[c]] for c in range(len(sizes))]
    in_test = np.zeros(len(labels), dtype=np.bool_)
    in_test[np.concatenate(test)] = True
    return np.flatnonzero(~in_test), np.flatnonzero(in_test)


def split_users(
    *, users: IntArray, test_fraction: float, rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """Rows (training, test), each ascending: round(test_fraction * users) random users, at least one, are for the test.

    Raises:
        ConfigError: unless 0 < test_fraction < 1 leaves users on both sides.
    """
    names = np.unique(users)
    if not 0 < test_fraction < 1 or len(names) < 2:
        raise ConfigError(
            f"data.test_by=user with data.test_fraction={test_fraction} and {len(names)} users leaves one side empty: "
            "choose a fraction between 0 and 1, and data of two users at least."
        )
    count = min(max(1, round(test_fraction * len(names))), len(names) - 1)
    in_test = np.isin(users, rng.permutation(names)[:count])
    return np.flatnonzero(~in_test), np.flatnonzero(in_test)


def check_classes(labels: Array, *, train: IntArray, test: IntArray, test_by: str, otherwise: str | None) -> None:
    """Neither part of a split by users or recordings may lack all classes but one, unless the whole does.

    Labels that are not classes pass.

    Args:
        labels: of all examples.
        train, test: rows.
        test_by: what was kept together, as the config calls it; ``otherwise``: what may be instead; None: nothing.

    Raises:
        ConfigError: a part with a single class.
    """
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(classes := np.unique(labels)) < 2:
        return
    ways = ["another seed (seeds.data)", *([] if otherwise is None else [f"data.test_by={otherwise}"])]
    for name, rows, size in (("test", test, "larger"), ("training", train, "smaller")):
        if len(found := np.unique(labels[rows])) == 1:
            raise ConfigError(
                f"data.test_by={test_by} leaves the {name} part with one class ({found[0]}) of {len(classes)}: take "
                f"{', '.join(ways)} or a {size} data.test_fraction."
            )


def split_dataset(
    *,
    x: Array,
    labels: Array,
    users: IntArray | None,
    num_classes: int | None,
    test_fraction: float,
    test_by: TestBy,
    groups: Mapping[str, IntArray],
    rng: np.random.Generator,
    **described: Any,
) -> Dataset:
    """A dataset whose test part is drawn: stratified by label (``strata``), or whole users.

    Args:
        x, labels, users, groups: of all examples, in one order.
        described: the other fields of ``Dataset``.

    Raises:
        ConfigError: a fraction that leaves one part empty or with one class, or ``test_by="user"`` without users.
    """
    if test_by == "user":
        if users is None:
            raise ConfigError("data.test_by=user needs user ids: set data.user, or data.test_by=example.")
        train, test = split_users(users=users, test_fraction=test_fraction, rng=rng)
        check_classes(labels, train=train, test=test, test_by="user", otherwise="example")
    else:
        kinds = strata(labels, num_classes=num_classes).of
        train, test = stratified_split(labels=kinds, test_fraction=test_fraction, rng=rng)
    return Dataset(
        train=Examples(x[train], labels[train]),
        test=Examples(x[test], labels[test]),
        users=None if users is None else users[train],
        num_classes=num_classes,
        groups={name: np.concatenate([group[train], group[test]]) for name, group in groups.items()},
        **described,
    )
