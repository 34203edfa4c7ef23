"""What of an input a model needs, said once: shapes are checked here, and what does not fit names a model that does."""

from collections.abc import Sequence

from fedpriv.errors import ConfigError

# Smallest images, in pixels a side.
LENET_SMALLEST = 14
CNN_SMALLEST = 6
RESNET_SMALLEST = 4


def check_image(input_shape: Sequence[int], *, model: str, smallest: int) -> tuple[int, int, int]:
    """(channels, height, width) of images of at least ``smallest`` pixels a side.

    Raises:
        ConfigError: other data.
    """
    if len(input_shape) != 3 or min(input_shape[1:]) < smallest:
        needs = f"images (channels, height, width) of at least {smallest}x{smallest}"
        raise _unfit(model, needs, input_shape, tokens=False)
    channels, height, width = input_shape
    return channels, height, width


def check_table(input_shape: Sequence[int], *, model: str) -> int:
    """The number of features of a table's row.

    Raises:
        ConfigError: other data.
    """
    if len(input_shape) != 1:
        raise _unfit(model, "rows of a table (features,)", input_shape, tokens=False)
    return input_shape[0]


def check_sequence(input_shape: Sequence[int], *, num_tokens: int | None, model: str) -> int:
    """The length of sequences: of numbers (length, channels), or of tokens (length,) where ``num_tokens`` is given.

    Raises:
        ConfigError: other data.
    """
    if len(input_shape) != (2 if num_tokens is None else 1):
        needs = "sequences of numbers (length, channels) or of tokens (length,)"
        raise _unfit(model, needs, input_shape, tokens=num_tokens is not None)
    return input_shape[0]


def check_at_least_one(**values: int) -> None:
    """Raise ConfigError for a model's key below 1."""
    for key, value in values.items():
        if value < 1:
            raise ConfigError(f"model.{key}={value} must be at least 1.")


def check_divides(**values: int) -> None:
    """Raise ConfigError unless the first of two keys is a divisor of the second."""
    (part, parts), (whole, size) = values.items()
    if size % parts:
        raise ConfigError(f"model.{part}={parts} does not divide model.{whole}={size}; choose a divisor of it.")


def _unfit(model: str, needs: str, input_shape: Sequence[int], *, tokens: bool) -> ConfigError:
    shape = f"tokens of shape {tuple(input_shape)}" if tokens else f"shape {tuple(input_shape)}"
    *others, last = _models_for(input_shape, tokens)
    fitting = f"{', '.join(others)} or {last}"
    if len(input_shape) == 1 and not tokens:
        fitting += "; for characters, char_lstm or char_transformer"
    return ConfigError(f"model={model} needs {needs}, and this data has {shape}: use model={fitting}.")


def _models_for(input_shape: Sequence[int], tokens: bool) -> list[str]:
    if tokens:
        return ["char_lstm", "char_transformer", "lstm", "transformer"]
    special = {1: ["tabular_mlp"], 2: ["lstm", "transformer"]}.get(len(input_shape), [])
    if len(input_shape) == 3:
        sizes = {"resnet": RESNET_SMALLEST, "lenet": LENET_SMALLEST, "cnn": CNN_SMALLEST}
        special = [name for name, smallest in sizes.items() if min(input_shape[1:]) >= smallest]
    return [*special, "mlp", "logistic"]
