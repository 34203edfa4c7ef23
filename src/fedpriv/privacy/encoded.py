"""One client's addend of an aggregate."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True)
class EncodedUpdate:
    """One client's addend of the aggregate, as it leaves the client.

    Attributes:
        values: shape (d,); int64 where the aggregation is exact on integers, float64 otherwise.
        norm: L2 norm of the raw update; ``nan`` if it was not finite (and then ``values`` is zero).
        clipped: whether the mechanism shortened the update, or put zero in its place because it was not finite.
    """

    values: torch.Tensor
    norm: float
    clipped: bool
