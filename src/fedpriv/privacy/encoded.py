"""What travels between the two halves of a mechanism, beside the parameters."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

State = Mapping[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Senders:
    """Clients whose updates are encoded, in which round, and what they were told with it.

    Attributes:
        clients: ids (int64), shape (n,).
        weights: of each in the mean (float64), shape (n,).
        noise_multipliers: of the noise that each adds by itself (float64), shape (n,); NaN for none.
        told: what the mechanism's server half sends with the round (``Mechanism.told``).
    """

    clients: np.ndarray
    weights: torch.Tensor
    noise_multipliers: np.ndarray
    round_number: int
    attempt: int
    told: State


@dataclass(frozen=True, kw_only=True)
class EncodedUpdate:
    """Clients' addends of the aggregate, as they leave the clients, a row each.

    Attributes:
        values: shape (n, e); int64 where the aggregation is exact on integers, float64 otherwise.
        norm: L2 norm of each raw update, float64, shape (n,); ``nan`` if it was not finite (its values are zero).
        clipped: as ``norm``: whether the mechanism shortened the update, or clips and had to put zero in a non-finite
            one's place; ``nan`` where it clips no updates.
    """

    values: torch.Tensor
    norm: torch.Tensor
    clipped: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """What the server has of a round when all who answered have.

    Attributes:
        total: sum of the encoded updates, shape (e,); ``size``: numbers of one that is not encoded.
        weight: of those who answered, together.
        cohort: ids of those who were asked; ``answered``: of those whose updates are in the sum.
        state: the mechanism's, as the round began.
    """

    total: torch.Tensor
    size: int
    weight: float
    cohort: np.ndarray
    answered: np.ndarray
    round_number: int
    attempt: int
    state: State
