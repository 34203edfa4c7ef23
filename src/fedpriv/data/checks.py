"""Checks that every array passes before anything is trained on it; errors name the array and the mend."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fedpriv.errors import DataError

_BLOCK = 1 << 16  # rows looked at together, so that checking needs little memory
_MOST_GROUPS = 32


def check_features(x: npt.NDArray[np.generic], *, where: str) -> None:
    """Features are real, finite numbers, shape (n, ...) with n > 0."""
    if x.dtype.kind not in "biuf":
        raise DataError(f"{where} have dtype {x.dtype}: store real numbers (integers or floats).")
    if x.ndim < 2 or x.size == 0:
        raise DataError(
            f"{where} have shape {x.shape}: store at least one example, as (examples, features, ...)."
        )
    if x.dtype.kind != "f":
        return
    for start in range(0, len(x), _BLOCK):
        finite = np.isfinite(x[start : start + _BLOCK]).reshape(min(_BLOCK, len(x) - start), -1).all(axis=1)
        if not finite.all():
            row = start + int(np.argmin(finite))
            raise DataError(f"{where} hold NaN or infinity (first in row {row}): remove or impute such rows.")


def check_labels(y: npt.NDArray[np.generic], *, where: str, num_classes: int | None) -> npt.NDArray[np.int64]:
    """Class labels as int64, shape (n,). Floats pass if they are whole numbers (many tools save them so)."""
    if y.ndim != 1:
        raise DataError(f"{where} have shape {y.shape}: store one label per example, as (examples,).")
    if y.dtype.kind == "f" and np.isfinite(y).all() and np.array_equal(y, np.round(y)):
        y = y.astype(np.int64)
    if y.dtype.kind not in "iu":
        raise DataError(f"{where} are not whole numbers (dtype {y.dtype}): store class labels 0, 1, 2, ...")
    if y.size and y.min() < 0:
        raise DataError(f"{where} are negative (smallest: {y.min()}): store class labels 0, 1, 2, ...")
    if num_classes is not None and y.size and y.max() >= num_classes:
        raise DataError(
            f"{where} go up to {y.max()}, but there are {num_classes} classes: "
            "check which labels are read (data.label), or the number of classes."
        )
    return y.astype(np.int64, copy=False)


def infer_num_classes(y: npt.NDArray[np.int64], *, where: str) -> int:
    """The number of classes when the config gives none: labels must then be exactly 0 ... K-1."""
    present = np.unique(y)
    if len(present) == 1:
        raise DataError(
            f"{where} are all {present[0]}, so there is nothing to learn: check which labels are read (data.label), or "
            "set data.num_classes."
        )
    if len(present) != present[-1] + 1:
        raise DataError(
            f"{where} are not 0 ... K-1: {len(present)} different labels from {present[0]} to {present[-1]}. "
            "Check which labels are read (data.label), renumber them, or set data.num_classes."
        )
    return len(present)


def check_numbers(y: npt.NDArray[np.generic], *, where: str) -> None:
    """Real, finite numbers, shape (n,)."""
    if y.ndim != 1 or y.dtype.kind != "f" or not np.isfinite(y).all():
        raise DataError(f"{where} have dtype {y.dtype} and shape {y.shape}: store one finite float per example.")


def check_survival(y: npt.NDArray[np.generic], *, where: str) -> None:
    """Times >= 0 and events 0 or 1, floats of shape (n, 2)."""
    if y.ndim != 2 or y.shape[1] != 2 or y.dtype.kind != "f" or not np.isfinite(y).all():
        raise DataError(
            f"{where} have dtype {y.dtype} and shape {y.shape}: without classes, store one finite float per example, "
            "or (time, event) for survival."
        )
    if not (np.greater_equal(y[:, 0], 0).all() and np.isin(y[:, 1], (0, 1)).all()):
        raise DataError(f"{where}: survival times must be >= 0, and events 0 (censored) or 1.")


def check_tokens(x: npt.NDArray[np.generic], *, where: str, num_tokens: int) -> None:
    """Integers in [0, num_tokens)."""
    if x.dtype.kind not in "iu" or x.min() < 0 or x.max() >= num_tokens:
        raise DataError(f"{where} must be token ids 0 ... {num_tokens - 1} (integers).")


def check_users(users: npt.NDArray[np.generic], *, where: str) -> npt.NDArray[np.int64]:
    """User ids: any integers, shape (n,)."""
    if users.ndim != 1 or users.dtype.kind not in "iu":
        raise DataError(
            f"{where} have dtype {users.dtype} and shape {users.shape}: store one whole number per example."
        )
    return users.astype(np.int64, copy=False)


def check_groups(groups: npt.NDArray[np.generic], *, name: str, names: Sequence[str] | None) -> None:
    """Whole numbers 0, 1, ..., few enough to be compared; each with a name, where there are ``names``."""
    if groups.ndim != 1 or groups.dtype.kind not in "iu" or groups.min() < 0:
        raise DataError(
            f"The groups {name!r} have dtype {groups.dtype} and shape {groups.shape}: store one whole number >= 0 per "
            "example."
        )
    count = int(groups.max()) + 1
    if count > _MOST_GROUPS:
        raise DataError(
            f"The groups {name!r} are {count}, too many to compare (at most {_MOST_GROUPS}): group by another column, "
            "or by bins of this one."
        )
    if names is not None and count > len(names):
        raise DataError(f"The groups {name!r} are {count}, but {len(names)} have names.")


def check_length(what: str, found: int, expected: int) -> None:
    """One entry per example."""
    if found != expected:
        raise DataError(f"{what} have {found} entries for {expected} examples: store one per example.")
