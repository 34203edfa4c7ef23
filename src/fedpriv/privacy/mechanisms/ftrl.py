"""Central client-level DP with noise that later rounds take back: DP-FTRL without sampling or shuffling.

Kairouz, McMahan, Song, Thakkar, Thakurta & Xu 2021 (arXiv 2103.00039) with binary trees; Denisov et al. 2022 and
Choquette-Choo et al. 2023 (arXiv 2306.08153) with banded matrices. A round has as much noise as anywhere, but the sum
of all rounds so far, which is the model, has far less than independent noise would leave in it.
"""

from abc import abstractmethod
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import final

import numpy as np

from fedpriv.accounting.groups import Group, Groups
from fedpriv.accounting.ledger import ReleaseEntry
from fedpriv.accounting.release import Composition, Release
from fedpriv.accounting.tree import TreeRound
from fedpriv.errors import ConfigError

from ..encoders import BandedEncoder, Encoder, Memory, TreeEncoder
from .central_sum import CentralSum


@dataclass(frozen=True, kw_only=True)
class _Correlated(CentralSum):
    """Noise ``C^-1 z`` over the rounds of a group.

    Args:
        groups: which rounds share noise.
        noise_multiplier: standard deviation of z / clipping norm.
    """

    groups: Groups
    _memory: dict[Group, Memory] = field(default_factory=dict, compare=False, repr=False)

    @property
    @abstractmethod
    def encoder(self) -> Encoder:
        """C."""

    def noise(self, *, round_number: int, attempt: int, size: int) -> np.ndarray:
        return self._noise(self.groups.of(round_number, attempt), round_number, size)

    def entry(self, *, round_number: int, attempt: int, cohort: np.ndarray) -> ReleaseEntry | None:
        entry = self._releases.entry(round_number=round_number, attempt=attempt, cohort=cohort, parts=())
        if entry is None:
            return None
        group = self.groups.of(round_number, attempt)
        details = tuple(sorted((*group.details, *self._details)))
        return replace(entry, noise_law=self._law, group=group.name, details=details)

    @property
    @abstractmethod
    def _law(self) -> str:
        """In the ledger's words."""

    @property
    def _details(self) -> tuple[tuple[str, float], ...]:
        return ()

    def _noise(self, group: Group, round_number: int, size: int) -> np.ndarray:
        def draw(index: int) -> np.ndarray:
            rng = self.streams.rng("noise", group.first_round + index - 1, group.attempt)
            return rng.normal(scale=self.noise_std, size=size)

        if group not in self._memory:
            self._memory.clear()
        memory = self._memory.setdefault(group, {})
        return self.encoder.correlated(round_number - group.first_round + 1, group.length, draw, memory)


@final
@dataclass(frozen=True, kw_only=True)
class FtrlTree(_Correlated):
    """Noise from binary trees, a new one every so many rounds."""

    name: str = "ftrl_tree"

    @property
    def encoder(self) -> TreeEncoder:
        return TreeEncoder()

    def planned(
        self, participations: np.ndarray, *, first_round: int, last_round: int, attempt: int
    ) -> dict[int, Composition]:
        """Of each participant, the rounds that are its turn."""
        if self.noise_multiplier == 0:
            return {}
        law, found = self.sampler.law, defaultdict[int, dict[Release, int]](dict)
        for number in range(first_round, last_round + 1):
            group = self.groups.of(number, attempt)
            [who] = law.turns(number, number)
            release = TreeRound(
                noise_multiplier=self.noise_std / self.grid.clipping_norm,  # the way the ledger derives it
                first_round=group.first_round,
                last_round=group.last_round,
                attempt=attempt,
                round=number,
            )
            found[who][release] = 1
        return dict(found)

    @property
    def _law(self) -> str:
        return "gaussian_tree"


@final
@dataclass(frozen=True, kw_only=True)
class FtrlBanded(_Correlated):
    """Noise from a banded matrix; a client's participations lie at least ``bands`` rounds apart, and share no row.

    Each is then accounted by itself, as a Gaussian release or, where cohorts are drawn by coins, a Poisson-sampled one
    (Choquette-Choo et al. 2023, Theorem 4).

    Raises:
        ConfigError: clients may come back sooner than after ``bands`` rounds.
    """

    bands: int
    name: str = "ftrl_banded"

    def __post_init__(self) -> None:
        separation = self.sampler.law.separation
        if self.bands > separation:
            raise ConfigError(
                f"privacy.bands={self.bands} needs clients that come back after as many rounds, but "
                f"sampling.separation is {separation}: use at most {separation} bands, or a larger separation."
            )

    @property
    def encoder(self) -> BandedEncoder:
        return BandedEncoder(bands=self.bands)

    def planned(
        self, participations: np.ndarray, *, first_round: int, last_round: int, attempt: int
    ) -> dict[int, Composition]:
        return self._releases.planned(first_round=first_round, last_round=last_round)

    @property
    def _law(self) -> str:
        return "gaussian_banded"

    @property
    def _details(self) -> tuple[tuple[str, float], ...]:
        return (("bands", self.bands),)
