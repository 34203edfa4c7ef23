"""Images of the data as pixels in [0, 1], and as PNG."""

import base64
import io
from collections.abc import Iterator

import numpy as np
import torch

from fedpriv.data import FederatedData
from fedpriv.experiment.pixels import pixel_range

_BLOCK = 4096


class Pictures:
    """All images of a federation, training examples first, then the server's.

    Args:
        data: of images.
    """

    def __init__(self, data: FederatedData) -> None:
        ends = pixel_range(data)
        assert ends is not None  # refused before, by Attacks.check
        self._data = data
        self._low, self._span = ends[0].double().numpy(), (ends[1] - ends[0]).double().numpy()

    def scaled(self, x: torch.Tensor) -> np.ndarray:
        """What a model gets (n, channels, height, width), as pixels in [0, 1], float64."""
        pixels: np.ndarray = (x.double().numpy() - self._low) / self._span
        return pixels

    def of(self, rows: np.ndarray) -> np.ndarray:
        """Images by row, (n, channels, height, width)."""
        count = len(self._data.train)
        found = [self._data.train.x[row] if row < count else self._data.test.x[row - count] for row in rows.tolist()]
        return self._pixels(np.stack(found))

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All of them, with their rows."""
        start = 0
        for x in (self._data.train.x, self._data.test.x):
            for first in range(0, len(x), _BLOCK):
                block = x[first : first + _BLOCK]
                yield start + first + np.arange(len(block)), self._pixels(block)
            start += len(x)

    def _pixels(self, stored: np.ndarray) -> np.ndarray:
        x = stored.astype(np.float32) if self._data.normalisation is None else self._data.normalisation.apply(stored)
        return self.scaled(torch.from_numpy(x))


def data_uri(pixels: np.ndarray) -> str:
    """An image (channels, height, width) in [0, 1] as ``data:image/png;base64,...``; other than 3 channels as grey."""
    from PIL import Image  # late: a worker has no use for it

    grey = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    shown = grey.transpose(1, 2, 0) if len(grey) == 3 else np.rint(grey.mean(axis=0)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(shown).save(file, format="PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
