"""One client's addend of an aggregate."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True)
class EncodedUpdate:
    """One client's addend of the aggregate, as it leaves the client.

    Attributes:
        values: shape (d,); int64 where the aggregation is exact on integers, float64 otherwise.
        norm: L2 norm of the raw update; ``nan`` if it was not finite (and then ``values`` is zero).
        clipped: whether the mechanism shortened the update, or clips and had to put zero in a non-finite one's place;
            False where nothing clips.
    """

    values: torch.Tensor
    norm: float
    clipped: bool
