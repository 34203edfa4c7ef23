"""Central client-level DP with a clipping norm for each layer (McMahan et al. 2018, section 3, per-layer clipping)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
import torch

from fedpriv.accounting.ledger import Part, ReleaseEntry
from fedpriv.accounting.sampled_gaussian import Composition
from fedpriv.streams import Streams

from ..clipping import ClippingGrid
from ..encoded import EncodedUpdate, Gathered, Senders
from ..mechanism import OneRelease
from ..sampling import CohortSampler
from .central_releases import CentralReleases


@final
@dataclass(frozen=True, kw_only=True)
class LayerNorm:
    """Part of the flat update that is clipped by itself: ``size`` numbers, in the order of the update."""

    name: str
    size: int
    clipping_norm: float


@final
@dataclass(frozen=True, kw_only=True)
class CentralPerLayer(OneRelease):
    """Gaussian noise on sums of updates whose layers are clipped one by one.

    A layer's noise is ``noise_multiplier sqrt(L) C_l`` for L layers: all together are one Gaussian release of
    ``noise_multiplier``, and with equal norms C / sqrt(L) every coordinate has the noise of clipping to C as a whole.
    An update that is not finite in one layer is dropped whole.

    Args:
        layers: cover the update, in its order.
        summands: most clients that one sum may hold.
        noise_multiplier: of all layers together; 0: no noise, no claim.
        streams: source of the noise (``noise``) and of the cohort commitment's salt (``commitment``).
    """

    layers: Sequence[LayerNorm]
    summands: int
    sampler: CohortSampler
    noise_multiplier: float
    streams: Streams
    name: str = "central_per_layer"
    unit: str = "client"

    def local_noise_multipliers(self, cohort: np.ndarray) -> np.ndarray:
        return np.full(len(cohort), np.nan)

    def nothing(self, size: int) -> torch.Tensor:
        return torch.zeros(size, dtype=torch.int64)

    def encode(self, update: torch.Tensor, *, senders: Senders) -> EncodedUpdate:
        values = torch.empty(update.shape, dtype=torch.int64)
        parts = zip(self._grids, self._split(values), self._split(update), strict=True)
        norms = torch.stack([grid.fill(room, part) for grid, room, part in parts])
        norm = torch.linalg.vector_norm(norms, dim=0)
        finite = norm.isfinite()
        if not bool(finite.all()):
            values.masked_fill_(~finite[:, None], 0)
        most = torch.tensor([[layer.clipping_norm] for layer in self.layers], dtype=torch.float64)
        return EncodedUpdate(
            values=values,
            norm=torch.where(finite, norm, math.nan),
            clipped=~finite | (norms > most).any(dim=0),
        )

    def decode(self, gathered: Gathered) -> torch.Tensor:
        noisy_sum = torch.cat(
            [grid.decode(part) for grid, part in zip(self._grids, self._split(gathered.total), strict=True)]
        )
        if self.noise_multiplier > 0:
            rng = self.streams.rng("noise", gathered.round_number, gathered.attempt)
            noisy_sum += torch.from_numpy(rng.standard_normal(noisy_sum.shape) * self._stds)
        return noisy_sum / self.sampler.expected(gathered.round_number)

    def entry(self, *, round_number: int, attempt: int, cohort: np.ndarray) -> ReleaseEntry | None:
        parts = [
            Part(name=layer.name, sensitivity=layer.clipping_norm, noise_std=self.noise_std(layer))
            for layer in self.layers
        ]
        return self._releases.entry(round_number=round_number, attempt=attempt, cohort=cohort, parts=parts)

    def planned(
        self, participations: np.ndarray, *, first_round: int, last_round: int, attempt: int
    ) -> dict[int, Composition]:
        return self._releases.planned(first_round=first_round, last_round=last_round)

    def noise_std(self, layer: LayerNorm) -> float:
        """Standard deviation of the noise on a layer's sum, per coordinate."""
        return self.noise_multiplier * math.sqrt(len(self.layers)) * layer.clipping_norm

    @cached_property
    def _grids(self) -> list[ClippingGrid]:
        return [ClippingGrid(clipping_norm=layer.clipping_norm, summands=self.summands) for layer in self.layers]

    @cached_property
    def _stds(self) -> np.ndarray:
        """Of each coordinate."""
        return np.repeat([self.noise_std(layer) for layer in self.layers], [layer.size for layer in self.layers])

    def _split(self, values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        parts: tuple[torch.Tensor, ...] = values.split([layer.size for layer in self.layers], dim=-1)
        return parts

    @property
    def _releases(self) -> CentralReleases:
        return CentralReleases(
            mechanism=self.name,
            sampler=self.sampler,
            sensitivity=1.0,
            noise_multiplier=self.noise_multiplier,
            noise_std=self.noise_multiplier,
            streams=self.streams,
        )
