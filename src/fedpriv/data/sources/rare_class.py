"""One class made rare, to see who pays: the groups are the classes themselves."""

from dataclasses import replace

import numpy as np

from fedpriv.data.dataset import Dataset, Examples
from fedpriv.data.sources.embedded import mnist5k
from fedpriv.errors import ConfigError


def mnist5k_rare(
    *,
    rare_class: int,
    rare_examples: int,
    test_fraction: float,
    scale: float,
    mean: float,
    std: float,
    rng: np.random.Generator,
) -> Dataset:
    """MNIST-5k with one digit's training examples cut to a few; the test part stays as it is.

    As in Bagdasaryan, Poursaeed & Shmatikov 2019, "Differential Privacy Has Disparate Impact on Model Accuracy",
    NeurIPS, section 4.5, which cuts a class of MNIST to a twelfth. The group ``digit`` of an example is its class.

    Args:
        rare_class: 0 ... 9.
        rare_examples: training examples of it that stay, drawn at random.
        test_fraction, scale, mean, std: as for ``mnist5k``.

    Raises:
        ConfigError: no such class, or fewer examples of it than shall stay.
    """
    whole = mnist5k(test_fraction=test_fraction, scale=scale, mean=mean, std=std, rng=rng)
    labels = whole.train.y
    rare = np.flatnonzero(labels == rare_class)
    if not 1 <= rare_examples <= len(rare):
        raise ConfigError(
            f"data.rare_examples={rare_examples} of data.rare_class={rare_class}: there are {len(rare)} in the "
            "training part; keep between 1 and all of them."
        )
    kept = np.setdiff1d(np.arange(len(labels)), rng.permutation(rare)[rare_examples:])
    train = Examples(whole.train.x[kept], labels[kept])
    names = tuple(str(digit) for digit in range(10))
    return replace(
        whole,
        train=train,
        groups={"digit": np.concatenate([train.y, whole.test.y])},
        group_names={"digit": names},
    )
