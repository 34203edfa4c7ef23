"""Models without convolutions, for inputs of any shape.

Initial weights come from torch's generator, as the caller seeded it.
"""

import math
from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from fedpriv.errors import ConfigError


def logistic(*, input_shape: Sequence[int], num_classes: int) -> nn.Sequential:
    """Softmax regression: (batch, *input_shape) to logits (batch, num_classes)."""
    return mlp(input_shape=input_shape, num_classes=num_classes, hidden=())


def mlp(*, input_shape: Sequence[int], num_classes: int, hidden: Sequence[int]) -> nn.Sequential:
    """Fully connected layers with ReLU between them: (batch, *input_shape) to logits (batch, num_classes).

    Args:
        hidden: width of each hidden layer, first to last.

    Raises:
        ConfigError: a width below 1.
    """
    if any(width < 1 for width in hidden):
        raise ConfigError(f"model.hidden is {list(hidden)}: every hidden layer needs a width of at least 1.")
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    width = math.prod(input_shape)
    for number, next_width in enumerate(hidden, start=1):
        layers[f"hidden{number}"] = nn.Linear(width, next_width)
        layers[f"relu{number}"] = nn.ReLU()
        width = next_width
    layers["output"] = nn.Linear(width, num_classes)
    return nn.Sequential(layers)
