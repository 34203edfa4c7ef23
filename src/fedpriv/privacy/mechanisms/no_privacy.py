"""The baseline: weighted federated averaging (McMahan et al. 2017, Algorithm 1), nothing protected."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from fedpriv.accounting.ledger import ReleaseEntry
from fedpriv.accounting.sampled_gaussian import Composition

from ..encoded import EncodedUpdate, Gathered, Senders
from ..mechanism import OneRelease


def weigh(update: torch.Tensor, weights: torch.Tensor) -> EncodedUpdate:
    """Each row times its weight, in float64; a non-finite update counts as zero."""
    update = update.double()
    norm = torch.linalg.vector_norm(update, dim=-1)
    finite = norm.isfinite()
    return EncodedUpdate(
        values=torch.where(finite[:, None], update * weights[:, None], 0.0),
        norm=torch.where(finite, norm, math.nan),
        clipped=torch.full_like(norm, math.nan),
    )


def weighted_mean(gathered: Gathered) -> torch.Tensor:
    """The mean over those who answered; no answer means no update."""
    return gathered.total / gathered.weight if gathered.weight > 0 else torch.zeros_like(gathered.total)


@dataclass(frozen=True, kw_only=True)
class NoPrivacy(OneRelease):
    """Releases everything and claims nothing."""

    name: str = "none"
    unit: None = None

    def local_noise_multipliers(self, cohort: np.ndarray) -> np.ndarray:
        return np.full(len(cohort), np.nan)

    def nothing(self, size: int) -> torch.Tensor:
        return torch.zeros(size, dtype=torch.float64)

    def encode(self, update: torch.Tensor, *, senders: Senders) -> EncodedUpdate:
        return weigh(update, senders.weights)

    def decode(self, gathered: Gathered) -> torch.Tensor:
        return weighted_mean(gathered)

    def entry(self, *, round_number: int, attempt: int, cohort: np.ndarray) -> ReleaseEntry | None:
        return None

    def planned(
        self, participations: np.ndarray, *, first_round: int, last_round: int, attempt: int
    ) -> dict[int, Composition]:
        return {}
