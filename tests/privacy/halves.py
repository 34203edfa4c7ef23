"""What the two halves of a mechanism are handed, with everything that a test does not care about filled in."""

import numpy as np
import torch

from fedpriv.privacy import Gathered, Senders


def senders(clients=(0,), *, weights=None, noise_multipliers=None, round_number=1, attempt=0, told=None):
    ids = np.array(clients, dtype=np.int64)
    return Senders(
        clients=ids,
        weights=torch.ones(len(ids), dtype=torch.float64) if weights is None else torch.as_tensor(weights).double(),
        noise_multipliers=np.full(len(ids), np.nan) if noise_multipliers is None else np.asarray(noise_multipliers),
        round_number=round_number,
        attempt=attempt,
        told=told or {},
    )


def gathered(total, *, size=None, weight=1.0, cohort=(0,), answered=None, round_number=1, attempt=0, state=None):
    return Gathered(
        total=total,
        size=len(total) if size is None else size,
        weight=float(weight),
        cohort=np.array(cohort, dtype=np.int64),
        answered=np.array(cohort if answered is None else answered, dtype=np.int64),
        round_number=round_number,
        attempt=attempt,
        state=state or {},
    )
