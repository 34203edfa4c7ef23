"""Whether labels can be learned from, and what a loader must be told of them."""

from pathlib import Path

import numpy as np

from fedpriv.data.checks import check_labels
from fedpriv.data.dataset import Array
from fedpriv.errors import DataError

NOTHING_TO_LEARN = "nothing can be learned from it"


def num_classes_key(y: Array, *, file: Path, name: str) -> str:
    """The key ``num_classes`` as a line of YAML; empty where labels are 0 ... K-1, so that it needs none.

    Raises:
        DataError: no class labels, or a single class.
    """
    labels = check_labels(y, where=f"{file}: the labels {name!r}", num_classes=None)
    present = np.unique(labels)
    if len(present) < 2:
        raise DataError(
            f"{file}: the label {name!r} has one class only ({present[0]}): {NOTHING_TO_LEARN}. Choose another by "
            "--label."
        )
    if len(present) == present[-1] + 1:
        return ""
    return f"num_classes: {present[-1] + 1}  # labels go up to {present[-1]}, but {len(present)} occur\n"
