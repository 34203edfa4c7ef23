"""What clients add to an aggregate."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True)
class EncodedUpdate:
    """Clients' addends of the aggregate, as they leave the clients: a row each, or one by itself without rows.

    Attributes:
        values: shape (n, d) or (d,); int64 where the aggregation is exact on integers, float64 otherwise.
        norm: L2 norm of each raw update, float64, shape (n,) or (); ``nan`` if it was not finite (its values are zero).
        clipped: as ``norm``: whether the mechanism shortened the update, or clips and had to put zero in a non-finite
            one's place; ``nan`` where it clips no updates.
    """

    values: torch.Tensor
    norm: torch.Tensor
    clipped: torch.Tensor
