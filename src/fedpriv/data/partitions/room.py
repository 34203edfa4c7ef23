"""Whether there are enough examples."""

import numpy as np
import numpy.typing as npt

from fedpriv.errors import ConfigError

Integers = npt.NDArray[np.integer]


def check_room(examples: int, num_clients: int, min_examples: int) -> None:
    if num_clients < 1:
        raise ConfigError(f"partition.num_clients is {num_clients}: choose a whole number >= 1.")
    if min_examples < 0:
        raise ConfigError(f"partition.min_examples is {min_examples}: choose a whole number >= 0.")
    if num_clients > examples:
        raise ConfigError(
            f"partition.num_clients={num_clients} is more than the {examples} training examples: "
            f"choose at most {examples} clients, or more data."
        )
    if num_clients * min_examples > examples:
        raise ConfigError(
            f"{num_clients} clients with at least {min_examples} examples each need "
            f"{num_clients * min_examples}, and there are {examples}: "
            "lower partition.num_clients or partition.min_examples."
        )
