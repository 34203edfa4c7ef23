"""Clients that see the same things in different ways."""

from dataclasses import replace

import numpy as np

from fedpriv.data.dataset import Array, Dataset, Examples, IntArray
from fedpriv.data.federated import Partition
from fedpriv.data.partitions.room import check_room
from fedpriv.errors import ConfigError


def rotations(
    *,
    dataset: Dataset,
    num_clients: int,
    rng: np.random.Generator,
    min_examples: int,
    turns: int,
) -> Partition:
    """Feature skew: dealt out evenly, and client k sees its images turned by (k mod ``turns``) quarter turns.

    Test images are turned too, a random equal share by each angle. The quarter turns (0 ... 3, counter-clockwise) of
    all examples become the group ``rotation``.

    Source: the rotated MNIST and CIFAR of Ghosh et al. 2020, "An Efficient Framework for Clustered Federated
    Learning" (IFCA), arXiv:2006.04088, section 6; there every image appears at every angle, here at one.

    Raises:
        ConfigError: examples that are no square images, turns not 1 ... 4, or too few examples.
    """
    if not 1 <= turns <= 4:
        raise ConfigError(f"partition.turns is {turns}: choose 1 ... 4 (4: 0, 90, 180 and 270 degrees).")
    shape = dataset.train.x.shape[1:]
    if len(shape) != 3 or shape[1] != shape[2]:
        raise ConfigError(
            f"partition=rotations turns square images (channels, side, side), and examples have shape {shape}: "
            "choose another partition, or resize the images."
        )
    check_room(len(dataset.train), num_clients, min_examples)
    assignment: IntArray = rng.permutation(np.arange(len(dataset.train), dtype=np.int64) % num_clients)
    train_turns = assignment % turns
    test_turns: IntArray = rng.permutation(np.arange(len(dataset.test), dtype=np.int64) % turns)
    turned = replace(
        dataset,
        train=Examples(_turned(dataset.train.x, train_turns), dataset.train.y),
        test=Examples(_turned(dataset.test.x, test_turns), dataset.test.y),
        groups={**dataset.groups, "rotation": np.concatenate([train_turns, test_turns])},
    )
    return Partition(assignment=assignment, dataset=turned)


def _turned(images: Array, quarter_turns: IntArray) -> Array:
    turned = images.copy()
    for turns in (1, 2, 3):
        rows = quarter_turns == turns
        turned[rows] = np.rot90(images[rows], turns, axes=(2, 3))
    return turned
