"""What a loader returns: labelled examples as stored, with the public constants that normalise them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from fedpriv.data.checks import (
    check_features,
    check_groups,
    check_labels,
    check_length,
    check_numbers,
    check_survival,
    check_tokens,
)
from fedpriv.errors import DataError

Array = npt.NDArray[np.generic]
IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]
Targets = Literal["classes", "numbers", "sequences", "survival"]


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
    """Examples ``x``, shape (n, ...), in their stored dtype, and targets ``y``, shape (n, ...); see ``Dataset``."""

    x: Array
    y: Array

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, eq=False, kw_only=True)
class Dataset:
    """A labelled dataset before it is divided among clients.

    What is to be learned follows from the targets:

    | ``targets`` | ``y`` | ``num_classes`` |
    | --- | --- | --- |
    | classes | int64 (n,), 0 ... K-1 | K |
    | sequences (a class at every position) | int64 (n, length), 0 ... K-1 | K |
    | numbers | float32 (n,) | None |
    | survival | float32 (n, 2): time >= 0, and 1 for an event, 0 for censoring | None |

    Args:
        train: what clients will hold.
        test: what the server evaluates on.
        users: an integer id per training example (who made it), or None.
        num_classes: None where targets are not classes.
        normalisation: applied whenever examples are gathered; None passes floats on as float32, integers as int64.
        groups: sensitive attribute -> group of each example (0, 1, ...), training examples first, then test ones.
        group_names: sensitive attribute -> what its groups are called, in their order; those without are numbers.
        public: whether everybody may see these examples, so that nothing protects them.
        num_tokens: examples are token ids in [0, num_tokens); None where they are not.
        caveats: what these examples in particular add to what no guarantee covers.
        label_range: numbers only: public (low, high) by which the loss scales them; None: as they are.

    Raises:
        DataError: empty or unequal arrays, non-finite features, targets that are none of the above.
    """

    train: Examples
    test: Examples
    users: Array | None = None
    num_classes: int | None
    normalisation: Normalisation | None = None
    groups: Mapping[str, Array] = field(default_factory=dict)
    group_names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    public: bool = False
    num_tokens: int | None = None
    label_range: tuple[float, float] | None = None
    caveats: tuple[str, ...] = ()

    @property
    def targets(self) -> Targets:
        """What the labels are."""
        if self.num_classes is not None:
            return "classes" if self.train.y.ndim == 1 else "sequences"
        return "numbers" if self.train.y.ndim == 1 else "survival"

    def __post_init__(self) -> None:
        for name, examples in (("training", self.train), ("test", self.test)):
            check_features(examples.x, where=f"The {name} features")
            if self.num_tokens is not None:
                check_tokens(examples.x, where=f"The {name} examples", num_tokens=self.num_tokens)
            self._check_targets(examples.y, where=f"The {name} labels")
            check_length(f"The {name} labels", len(examples.y), len(examples.x))
        for kind in ("x", "y"):
            train, test = getattr(self.train, kind).shape[1:], getattr(self.test, kind).shape[1:]
            if train != test:
                raise DataError(
                    f"Training {'examples' if kind == 'x' else 'labels'} have shape {train}, but test ones {test}: "
                    "give files of one kind."
                )
        if self.normalisation is not None:
            self.normalisation.check(self.train.x.shape[1:])
        if self.label_range is not None and not self.label_range[0] < self.label_range[1]:
            raise DataError(f"data.label_range is {self.label_range}: give [lowest, highest].")
        if self.users is not None:
            check_length("The user ids", len(self.users), len(self.train))
        for name, group in self.groups.items():
            check_length(f"The groups {name!r}", len(group), len(self.train) + len(self.test))
            check_groups(group, name=name, names=self.group_names.get(name))

    def _check_targets(self, y: Array, *, where: str) -> None:
        if self.num_classes is None:
            check_numbers(y, where=where) if y.ndim == 1 else check_survival(y, where=where)
        else:
            check_labels(y.reshape(-1) if y.ndim == 2 else y, where=where, num_classes=self.num_classes)


def _constant(value: float | Sequence[float]) -> float | tuple[float, ...]:
    return tuple(float(v) for v in value) if isinstance(value, Sequence) else float(value)
