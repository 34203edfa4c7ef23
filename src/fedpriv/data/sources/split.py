"""A test split for data that comes without one."""

import numpy as np

from fedpriv.data.dataset import Array, Dataset, Examples, IntArray, Normalisation
from fedpriv.errors import ConfigError


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


def split_dataset(
    *,
    x: Array,
    labels: IntArray,
    users: IntArray | None,
    num_classes: int,
    normalisation: Normalisation,
    test_fraction: float,
    rng: np.random.Generator,
) -> Dataset:
    """A dataset whose test part is drawn by ``stratified_split``."""
    train, test = stratified_split(labels=labels, test_fraction=test_fraction, rng=rng)
    return Dataset(
        train=Examples(x[train], labels[train]),
        test=Examples(x[test], labels[test]),
        users=None if users is None else users[train],
        num_classes=num_classes,
        normalisation=normalisation,
        groups={},
        public=False,
    )
