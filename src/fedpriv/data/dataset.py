"""What a loader returns: labelled examples as stored, with the public constants that normalise them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedpriv.data.checks import check_features, check_labels, check_length
from fedpriv.errors import DataError

Array = npt.NDArray[np.generic]
IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Normalisation:
    """``(x * scale - mean) / std``, with public constants: never fitted on the data that a run protects.

    Args:
        scale: one factor, e.g. 1/255 for bytes.
        mean: one value, or one per channel (images) or per feature (vectors), after scaling; kept as a tuple.
        std: like ``mean``; positive.
    """

    scale: float
    mean: float | Sequence[float]
    std: float | Sequence[float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", float(self.scale))
        object.__setattr__(self, "mean", _constant(self.mean))
        object.__setattr__(self, "std", _constant(self.std))
        constants = np.hstack([self.scale, self.mean, self.std])
        if not np.isfinite(constants).all() or np.any(np.asarray(self.std) <= 0):
            raise DataError(
                "Normalisation needs finite constants and std > 0: mend data.scale, data.mean, data.std."
            )

    def apply(self, x: Array) -> FloatArray:
        """``x``, shape (n, channels or features, ...), of any real dtype, to newly allocated float32."""
        normalised: FloatArray = np.multiply(x, np.float32(self.scale), dtype=np.float32)
        normalised -= self._aligned(self.mean, x.ndim)
        normalised /= self._aligned(self.std, x.ndim)
        return normalised

    def check(self, input_shape: tuple[int, ...]) -> None:
        """Raise DataError unless the constants fit examples of this shape."""
        for name, constant in (("mean", self.mean), ("std", self.std)):
            if isinstance(constant, Sequence) and len(constant) != (input_shape or (0,))[0]:
                raise DataError(
                    f"data.{name} has {len(constant)} values, but examples have shape {input_shape}: "
                    "give one value, or one per channel or feature (the first dimension)."
                )

    @staticmethod
    def _aligned(constant: float | Sequence[float], ndim: int) -> np.float32 | FloatArray:
        if isinstance(constant, Sequence):
            return np.asarray(constant, np.float32).reshape(-1, *[1] * (ndim - 2))
        return np.float32(constant)


@dataclass(frozen=True, eq=False)
class Examples:
    """Examples ``x``, shape (n, ...), in their stored dtype, and class labels ``y``, shape (n,), int64."""

    x: Array
    y: IntArray

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, eq=False, kw_only=True)
class Dataset:
    """A labelled dataset before it is divided among clients.

    Args:
        train: what clients will hold.
        test: what the server evaluates on.
        users: an integer id per training example (who made it), or None.
        num_classes: labels lie in [0, num_classes).
        normalisation: applied whenever examples are gathered.
        groups: attribute name -> integer group per example, training examples first, then test examples.
        public: whether everybody may see these examples, so that nothing protects them.

    Raises:
        DataError: empty or unequal arrays, non-finite features, labels out of range.
    """

    train: Examples
    test: Examples
    users: Array | None
    num_classes: int
    normalisation: Normalisation
    groups: Mapping[str, Array]
    public: bool

    def __post_init__(self) -> None:
        for name, examples in (("training", self.train), ("test", self.test)):
            check_features(examples.x, where=f"The {name} features")
            check_labels(examples.y, where=f"The {name} labels", num_classes=self.num_classes)
            check_length(f"The {name} labels", len(examples.y), len(examples.x))
        if self.train.x.shape[1:] != self.test.x.shape[1:]:
            raise DataError(
                f"Training examples have shape {self.train.x.shape[1:]}, but test examples "
                f"{self.test.x.shape[1:]}: give files of one kind."
            )
        self.normalisation.check(self.train.x.shape[1:])
        if self.users is not None:
            check_length("The user ids", len(self.users), len(self.train))
        for name, group in self.groups.items():
            check_length(f"The groups {name!r}", len(group), len(self.train) + len(self.test))


def _constant(value: float | Sequence[float]) -> float | tuple[float, ...]:
    return tuple(float(v) for v in value) if isinstance(value, Sequence) else float(value)
