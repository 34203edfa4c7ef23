"""Distributed client-level DP: every client adds a share of the noise, and the server sees nothing but a sum.

Kairouz, Liu & Steinke 2021, "The Distributed Discrete Gaussian Mechanism for Federated Learning with Secure
Aggregation" (arXiv 2102.06387), Algorithms 1 and 2: clip, rotate, scale, round, add discrete Gaussian
noise, sum modulo 2^bits.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
import torch

from fedpriv.accounting.discrete_gaussian import SumOfShares, rounded_norm
from fedpriv.accounting.ledger import ReleaseEntry
from fedpriv.accounting.release import Composition
from fedpriv.errors import ConfigError
from fedpriv.streams import Streams

from ..clipping import ClippingGrid
from ..discrete_noise import discrete_gaussian
from ..encoded import EncodedUpdate, Gathered, Senders, State
from ..mechanism import OneRelease
from ..rotation import Rotation, padded
from ..secure_sum import SecureSum
from .client_releases import ClientReleases

_ROUNDING, _SHARE = 0, 1  # last positions of a client's coins
_SURE = 4.0  # standard deviations of a sum that fit the modulus on either side


@final
@dataclass(frozen=True, kw_only=True)
class DistributedGaussian(OneRelease):
    """Discrete Gaussian shares under a secure sum.

    The shares of ``survivors`` clients have the claimed noise; where fewer answer the round is aborted, and nothing of
    it is unmasked. Every client counts once; the sum is divided by the whole cohort, whoever answered.

    Args:
        clipping_norm: L2 bound of one client's update.
        size: numbers of an update, at most.
        cohort: clients of a round, in every round.
        survivors: least clients whose shares have the claimed noise.
        granularity: width of a grid step; None: so that sums of standard deviation up to a fourth fit the modulus.
        num_clients: ids are below.
        noise_multiplier: standard deviation of the sum of ``survivors`` shares / sensitivity; 0: no noise, no claim.
        secure_sum: sums modulo 2^bits.
        streams: source of each client's coins (``noise``), of rounding and of its share, and of the rotation
            (``commitment``).

    Raises:
        ConfigError: sums that do not fit the modulus.
    """

    clipping_norm: float
    size: int
    cohort: int
    survivors: int
    granularity: float | None
    num_clients: int
    noise_multiplier: float
    secure_sum: SecureSum
    streams: Streams
    name: str = "distributed_gaussian"
    unit: str = "client"

    def __post_init__(self) -> None:
        step = self._step(self.noise_multiplier) if math.isfinite(self.noise_multiplier) else 0.0
        if step > self.clipping_norm:
            raise ConfigError(
                f"privacy.bits={self.secure_sum.bits} is too few for the sum of {self.cohort} clients: a grid step "
                f"would exceed the clipping norm {self.clipping_norm:g}. Use more bits or less noise."
            )

    # -- parameters that the noise multiplier decides --------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """Whether sums of up to 4 standard deviations fit the modulus; of a granularity that is given, not always."""
        step = self._step(self.noise_multiplier)
        return self._sum_std(step, self.noise_multiplier) <= (1 + 1e-6) * self._room * step

    @property
    def _room(self) -> float:
        """Standard deviation that a sum may have, in grid steps."""
        return 2.0 ** (self.secure_sum.bits - 1) / _SURE

    def _step(self, noise_multiplier: float) -> float:
        """Width of a grid step: as fine as the modulus allows, if none is given; above the clipping norm: none fits."""
        if self.granularity is not None:
            return self.granularity
        step, last = self._sum_std(0.0, noise_multiplier) / self._room, 0.0
        while last < step <= self.clipping_norm and step - last > 1e-9 * step:
            # rounding adds to the sensitivity, and so to the noise, which the step is made for
            step, last = self._sum_std(step, noise_multiplier) / self._room, step
        return min(step, 2 * self.clipping_norm)

    def _sum_std(self, step: float, noise_multiplier: float) -> float:
        """Standard deviation of one number of a sum at most: noise if all answer, updates that agree, and rounding."""
        bound = step * self._norm(step) if step else self.clipping_norm
        noise = (noise_multiplier * bound) ** 2 * self.cohort / self.survivors
        signal = (self.clipping_norm * self.cohort) ** 2 / self._dimension
        return math.sqrt(noise + signal + self.cohort * step**2 / 4)

    def _norm(self, step: float) -> float:
        """Of a rounded update, in grid steps."""
        return rounded_norm(self.clipping_norm / step, self._dimension)

    def release(self, noise_multiplier: float, rate: float) -> SumOfShares:
        """One round, as an accountant sees it."""
        step = self._step(noise_multiplier)
        return SumOfShares(
            noise_multiplier=noise_multiplier,
            norm=self._norm(step) * step / step,  # the way the ledger derives it
            dimension=self._dimension,
            survivors=self.survivors,
            shares=self.cohort,
        )

    @property
    def _dimension(self) -> int:
        return padded(self.size)

    # -- the two halves ----------------------------------------------------------------------------------------

    def told(self, *, round_number: int, attempt: int, cohort: np.ndarray, state: State) -> State:
        """With whom a client shares masks, and the rotation: both public."""
        rotation = int(self.streams.rng("commitment", round_number, attempt).integers(2**63))
        return {"cohort": torch.from_numpy(cohort.astype(np.int64)), "rotation": torch.tensor(rotation)}

    def local_noise_multipliers(self, cohort: np.ndarray) -> np.ndarray:
        return np.full(len(cohort), self.noise_multiplier)

    def nothing(self, size: int) -> torch.Tensor:
        return torch.zeros(padded(size), dtype=torch.int64)

    def encode(self, update: torch.Tensor, *, senders: Senders) -> EncodedUpdate:
        grid = ClippingGrid(clipping_norm=self.clipping_norm, summands=1)
        clipped = grid.encode(update)
        rotated = Rotation(int(senders.told["rotation"])).there(grid.decode(clipped.values)).numpy()
        rows = [
            self._masked(row, client=client, noise_multiplier=multiplier, senders=senders)
            for row, client, multiplier in zip(
                rotated, senders.clients.tolist(), senders.noise_multipliers.tolist(), strict=True
            )
        ]
        values = torch.from_numpy(np.stack(rows)) if rows else torch.zeros(0, rotated.shape[1], dtype=torch.int64)
        return EncodedUpdate(values=values, norm=clipped.norm, clipped=clipped.clipped)

    def quantised(
        self, vector: np.ndarray, *, noise_multiplier: float, client: int, round_number: int, attempt: int
    ) -> np.ndarray:
        """A rotated, clipped vector on the grid, with the client's share of the noise: int64, not yet masked."""
        coins, rng = (self.streams.rng("noise", round_number, client, attempt, use) for use in (_ROUNDING, _SHARE))
        step = self._step(noise_multiplier)
        norm = self._norm(step)
        rounded = _rounded(vector / step, most=norm, rng=coins)
        if noise_multiplier > 0:
            share = noise_multiplier * norm / math.sqrt(self.survivors)
            rounded += discrete_gaussian(rng, std=share, size=len(rounded))
        return rounded

    def decode(self, gathered: Gathered) -> torch.Tensor | None:
        if len(gathered.answered) < self.survivors:
            return None
        key: dict[str, int] = {"round_number": gathered.round_number, "attempt": gathered.attempt}
        total = self.secure_sum.unmask(
            gathered.total.numpy(), answered=gathered.answered, cohort=gathered.cohort, **key
        )
        half = 1 << (self.secure_sum.bits - 1)
        centred = (total + half) % (2 * half) - half
        rotation = Rotation(int(self.told(**key, cohort=gathered.cohort, state={})["rotation"]))
        step = self._step(self.noise_multiplier)
        return rotation.back(torch.from_numpy(centred * step)[None], size=gathered.size)[0] / self.cohort

    # -- the ledger --------------------------------------------------------------------------------------------

    def entry(self, *, round_number: int, attempt: int, cohort: np.ndarray) -> ReleaseEntry | None:
        return self._releases.entry(round_number=round_number, attempt=attempt, cohort=cohort)

    def planned(
        self, participations: np.ndarray, *, first_round: int, last_round: int, attempt: int
    ) -> dict[int, Composition]:
        return self._releases.planned(participations)

    @cached_property
    def _releases(self) -> ClientReleases:
        step = self._step(self.noise_multiplier)
        details = {
            "bits": self.secure_sum.bits,
            "clipping_norm": self.clipping_norm,
            "dimension": self._dimension,
            "shares": self.cohort,
            "step": step,
            "survivors": self.survivors,
        }
        everybody = np.ones(self.num_clients)
        return ClientReleases(
            mechanism=self.name,
            unit=self.unit,
            noise_law="discrete_gaussian",
            sampling="all",
            sensitivity=self._norm(step) * step,
            rates=everybody,
            steps=everybody.astype(np.int64),
            noise_multipliers=np.full(self.num_clients, self.noise_multiplier),
            release=self.release,
            details=tuple(sorted(details.items())),
        )

    def _masked(
        self, vector: np.ndarray, *, client: int, noise_multiplier: float, senders: Senders
    ) -> np.ndarray:
        key: dict[str, int] = {"round_number": senders.round_number, "attempt": senders.attempt}
        plain = self.quantised(vector, noise_multiplier=noise_multiplier, client=client, **key)
        return self.secure_sum.mask(plain, client=client, cohort=senders.told["cohort"].numpy(), **key)


def _rounded(vector: np.ndarray, *, most: float, rng: np.random.Generator) -> np.ndarray:
    """Each coordinate up or down at random, right on average, and again until the L2 norm is at most ``most``."""
    down = np.floor(vector)
    chance = vector - down
    while True:
        rounded = down + (rng.random(len(vector)) < chance)
        if float(np.square(rounded).sum()) <= most**2:
            whole: np.ndarray = rounded.astype(np.int64)
            return whole
