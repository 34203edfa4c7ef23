"""Images decoded by Pillow, into arrays of one shape."""

import io
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from fedpriv.data.dataset import Array
from fedpriv.data.sources.files import read_bytes
from fedpriv.errors import ConfigError, DataError

if TYPE_CHECKING:
    from PIL.Image import Image

Channels = Literal[1, 3]


def open_image(file: Path) -> "Image":
    """The first image in a file.

    Raises:
        DataError: the file cannot be read, or is no image.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(read_bytes(file)))
        image.load()
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        told = "unknown format" if isinstance(error, UnidentifiedImageError) else error
        raise DataError(f"{file} is no image that Pillow can read ({told}): mend or remove it.") from error
    return image


def pixels(image: "Image", *, name: str, channels: Channels, size: Sequence[int] | None) -> Array:
    """uint8 (channels, height, width), grey or RGB; transparency is dropped.

    Raises:
        DataError: pixels of more than 8 bits, which would be cut off.
    """
    from PIL.Image import Resampling

    if image.mode.startswith(("I", "F")):
        raise DataError(f"{name} has pixels of more than 8 bits (Pillow's mode {image.mode}): convert it to 8 bits.")
    plain = image.convert("L" if channels == 1 else "RGB")
    if size is not None:
        plain = plain.resize((size[1], size[0]), Resampling.BILINEAR)
    values: Array = np.asarray(plain)
    return values.reshape(*values.shape[:2], channels).transpose(2, 0, 1)


def stack(
    images: Iterable[tuple[str, "Image"]], *, count: int, channels: Channels, size: Sequence[int] | None
) -> Array:
    """``count`` images of one size, uint8 (n, channels, height, width).

    Args:
        images: name (for messages) and image.
        size: (height, width) to resize to (bilinear, whatever the proportions were); None: as they are.

    Raises:
        DataError: an image of another size than the first.
        ConfigError: ``size`` is not two whole numbers >= 1.
    """
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise ConfigError(f"data.size={list(size)}: give [height, width], e.g. data.size=[32,32].")
    stacked: Array = np.empty(0)
    first_name = ""
    for row, (name, image) in enumerate(images):
        values = pixels(image, name=name, channels=channels, size=size)
        if row == 0:
            stacked, first_name = np.empty((count, *values.shape), np.uint8), name
        if values.shape != stacked.shape[1:]:
            (_, height, width), (_, h, w) = values.shape, stacked.shape[1:]
            raise DataError(
                f"{name} is {height}x{width} (height x width), but {first_name} is {h}x{w}: images must have one "
                f"size. Remove it, or resize all with data.size=[{h},{w}]."
            )
        stacked[row] = values
    return stacked
