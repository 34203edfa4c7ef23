"""How many of a batch's labels were found, and how many anybody would have found."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelScore:
    """Sets of labels against the truth, batch by batch.

    Attributes:
        truth, found: labels of each batch; repeated ones count once.
        num_classes: labels that there are.
    """

    truth: Sequence[IntArray]
    found: Sequence[IntArray]
    num_classes: int

    def to_json(self) -> dict[str, Any]:
        """As in ``run.json``: ``success`` is the mean share of a batch's distinct labels that were found.

        ``baseline`` is what a random set of as many labels would find: the share of all labels that were named.
        """
        pairs = [(set(t.tolist()), set(f.tolist())) for t, f in zip(self.truth, self.found, strict=True)]
        return {
            "success": float(np.mean([len(t & f) / len(t) for t, f in pairs])),
            "precision": float(np.mean([len(t & f) / max(1, len(f)) for t, f in pairs])),
            "exact": float(np.mean([t == f for t, f in pairs])),
            "baseline": float(np.mean([len(f) / self.num_classes for _, f in pairs])),
            "batches": len(pairs),
        }
