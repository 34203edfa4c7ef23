"""Training examples that give up their places to example-level canaries."""

from dataclasses import replace

import numpy as np

from fedpriv.audits.example_canaries import Places
from fedpriv.config import Config
from fedpriv.data import Examples, FederatedData
from fedpriv.errors import ConfigError
from fedpriv.streams import Streams

PURPOSE = "canary places"


def canary_places(config: Config, data: FederatedData, streams: Streams) -> Places:
    """Random places among the population's training examples: a function of the data seed and of clients' sizes.

    Nothing of an example decides whether it is one, so that examples that differ have the same places.

    Raises:
        ConfigError: more canaries than examples.
    """
    count = int(config.audit["canaries"])
    ends = np.cumsum(data.client_sizes[data.population_ids])
    if count > ends[-1]:
        raise ConfigError(f"audit.canaries={count} exceeds the {ends[-1]} training examples, whose places they take.")
    chosen = np.sort(streams.rng(PURPOSE, 0).choice(int(ends[-1]), count, replace=False))
    holders = np.searchsorted(ends, chosen, side="right")
    first = ends - data.client_sizes[data.population_ids]
    return Places(clients=data.population_ids[holders], indices=chosen - first[holders])


def with_canary_examples(config: Config, data: FederatedData, streams: Streams) -> FederatedData:
    """The same data, with mislabelled test examples in the places.

    They come from the server's examples, not from the clients': what an auditor tells of them is then, as accuracy on
    test examples is, computed from the model and from nothing else that is protected.

    Raises:
        ConfigError: labels that are no classes, or fewer test examples than canaries.
    """
    if data.targets != "classes" or data.num_classes is None:
        raise ConfigError(
            f"audit=example_canaries mislabels examples, but these targets are {data.targets}, not one class each: use "
            "audit=gradient_canaries."
        )
    places, count = canary_places(config, data, streams), int(config.audit["canaries"])
    if count > len(data.test):
        raise ConfigError(
            f"audit.canaries={count} exceeds the {len(data.test)} test examples, of which they are made: use fewer, or "
            "audit=gradient_canaries."
        )
    rows = data.clients.indices[data.clients.offsets[places.clients] + places.indices]
    rng = streams.rng(PURPOSE, 1)
    chosen = rng.choice(len(data.test), count, replace=False)
    right = data.test.y[chosen].astype(np.int64)
    wrong = (right + rng.integers(1, data.num_classes, count)) % data.num_classes
    groups = {name: _put(group, rows, group[len(data.train) + chosen]) for name, group in data.groups.items()}
    train = Examples(x=_put(data.train.x, rows, data.test.x[chosen]), y=_put(data.train.y, rows, wrong))
    return replace(data, train=train, groups=groups)


def _put(array: np.ndarray, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    changed = array.copy()
    changed[rows] = values
    return changed
