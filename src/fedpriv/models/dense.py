"""Models without convolutions, for inputs of any shape, and for the rows of a table.

Initial weights come from torch's generator, as the caller seeded it.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Literal

from torch import nn

from fedpriv.errors import ConfigError
from fedpriv.models.inputs import check_table

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh}


def logistic(*, input_shape: Sequence[int], num_outputs: int) -> nn.Sequential:
    """One linear layer: (batch, *input_shape) to (batch, num_outputs); softmax, logistic, linear or Cox regression."""
    return mlp(input_shape=input_shape, num_outputs=num_outputs, hidden=())


def mlp(*, input_shape: Sequence[int], num_outputs: int, hidden: Sequence[int]) -> nn.Sequential:
    """Fully connected layers with ReLU between them: (batch, *input_shape) to (batch, num_outputs).

    Args:
        hidden: width of each hidden layer, first to last.

    Raises:
        ConfigError: a width below 1.
    """
    return _dense(math.prod(input_shape), num_outputs, hidden=hidden, activation="relu", dropout=0)


def tabular_mlp(
    *,
    input_shape: Sequence[int],
    num_outputs: int,
    hidden: Sequence[int],
    activation: Literal["relu", "silu", "tanh"],
    dropout: float,
) -> nn.Sequential:
    """Fully connected layers for the rows of a table: (batch, features) to (batch, num_outputs).

    Bounded activations keep gradients small, so that clipping takes less of them (Papernot et al. 2021, "Tempered
    Sigmoid Activations for Deep Learning with Differential Privacy"): hence tanh, unless chosen otherwise.

    Args:
        hidden: width of each hidden layer, first to last.
        dropout: share of a hidden layer's outputs that a training step leaves out, in [0, 1).

    Raises:
        ConfigError: the data is no table, or a key is out of its range.
    """
    features = check_table(input_shape, model="tabular_mlp")
    if not 0 <= dropout < 1:
        raise ConfigError(f"model.dropout={dropout} must be at least 0 and below 1.")
    return _dense(features, num_outputs, hidden=hidden, activation=activation, dropout=dropout)


def _dense(
    width: int, num_outputs: int, *, hidden: Sequence[int], activation: str, dropout: float
) -> nn.Sequential:
    if any(units < 1 for units in hidden):
        raise ConfigError(f"model.hidden is {list(hidden)}: every hidden layer needs a width of at least 1.")
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for number, next_width in enumerate(hidden, start=1):
        layers[f"hidden{number}"] = nn.Linear(width, next_width)
        layers[f"{activation}{number}"] = _ACTIVATIONS[activation]()
        if dropout > 0:
            layers[f"dropout{number}"] = nn.Dropout(dropout)
        width = next_width
    layers["output"] = nn.Linear(width, num_outputs)
    return nn.Sequential(layers)
