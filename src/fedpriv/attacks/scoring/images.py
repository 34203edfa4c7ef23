"""How close reconstructed images are to the true ones, and to how close any other image of the data is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .intervals import share_interval

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

MOST_DB = 150.0
"""What identical images count as: float32 pixels are no closer."""
_LEAST_ERROR = 10 ** (-MOST_DB / 10)


def psnr(squared_error: float) -> float:
    """Peak signal-to-noise ratio in dB of pixels in [0, 1], from their mean squared error; at most 150."""
    return float(-10 * np.log10(max(squared_error, _LEAST_ERROR)))


def ssim(a: FloatArray, b: FloatArray) -> float:
    """Structural similarity (Wang, Bovik, Sheikh & Simoncelli 2004, equation 13; K1 = 0.01, K2 = 0.03).

    Gaussian windows of 11 x 11 pixels, standard deviation 1.5, that lie within the image; smaller, the largest odd
    width that fits, in smaller images. Mean over windows and channels.

    Args:
        a, b: (channels, height, width), pixels in [0, 1].

    Returns:
        at most 1.
    """
    from scipy import signal  # late: a worker has no use for it

    width = min(_WINDOW, *a.shape[1:])
    width -= 1 - width % 2
    offsets = np.arange(width) - width // 2
    line = np.exp(-(offsets**2) / (2 * _WINDOW_STD**2))
    window = np.outer(line, line) / np.outer(line, line).sum()

    def mean(image: FloatArray) -> FloatArray:
        blurred: FloatArray = signal.convolve2d(image, window, mode="valid")
        return blurred

    found = []
    for x, y in zip(a, b, strict=True):
        mx, my = mean(x), mean(y)
        vx, vy, vxy = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
        top = (2 * mx * my + _C1) * (2 * vxy + _C2)
        found.append((top / ((mx**2 + my**2 + _C1) * (vx + vy + _C2))).mean())
    return float(np.mean(found))


_WINDOW, _WINDOW_STD = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2


def matched(truth: FloatArray, found: FloatArray) -> IntArray:
    """Which of ``found`` goes with each of ``truth``, one to one, for the least squared error in all (n,)."""
    from scipy.optimize import linear_sum_assignment

    errors = squared_errors(truth, found)
    _, columns = linear_sum_assignment(errors)
    return np.asarray(columns, dtype=np.int64)


def squared_errors(a: FloatArray, b: FloatArray) -> FloatArray:
    """Mean squared errors of all pairs, (len(a), len(b))."""
    x, y = a.reshape(len(a), -1), b.reshape(len(b), -1)
    return np.stack([((row - y) ** 2).mean(axis=1) for row in x])


def nearest_others(
    truth: FloatArray, own: IntArray, blocks: Iterable[tuple[IntArray, FloatArray]]
) -> tuple[IntArray, FloatArray]:
    """The nearest image of the data to each true one, that one apart.

    Args:
        own: rows of the true ones in the data (n,).
        blocks: the data's images, with their rows.

    Returns:
        its row (n,), and its mean squared error (n,).
    """
    rows, errors = np.full(len(truth), -1, dtype=np.int64), np.full(len(truth), np.inf)
    for numbers, images in blocks:
        found = squared_errors(truth, images)
        found[own[:, None] == numbers[None, :]] = np.inf
        best = found.argmin(axis=1)
        nearer = found[np.arange(len(truth)), best] < errors
        rows[nearer] = numbers[best[nearer]]
        errors[nearer] = found[nearer, best[nearer]]
    return rows, errors


@dataclass(frozen=True, kw_only=True)
class ImageScore:
    """Reconstructions against the truth, image by image.

    Attributes:
        psnr, baseline: of each reconstruction, and of the nearest other image of the data, dB.
        ssim: of each reconstruction.
        confidence: of the interval of ``success``; it counts images as independent.
    """

    psnr: Sequence[float]
    baseline: Sequence[float]
    ssim: Sequence[float]
    confidence: float

    def to_json(self) -> dict[str, Any]:
        """As in ``run.json``: means over images, and the share that is closer than the nearest other image."""
        closer = sum(found > other for found, other in zip(self.psnr, self.baseline, strict=True))
        count = len(self.psnr)
        return {
            "psnr": float(np.mean(self.psnr)),
            "psnr_median": float(np.median(self.psnr)),
            "ssim": float(np.mean(self.ssim)),
            "success": closer / count,
            "success_interval": list(share_interval(closer, count, confidence=self.confidence)),
            "baseline": float(np.mean(self.baseline)),
            "images": count,
            "confidence": self.confidence,
        }
