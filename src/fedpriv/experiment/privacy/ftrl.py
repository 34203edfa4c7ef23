"""``privacy=ftrl_tree`` and ``ftrl_banded``: correlated noise, for clients that come back after so many rounds."""

from dataclasses import asdict, replace
from typing import Any, final

import numpy as np

from fedpriv.accounting.budget import Accounting
from fedpriv.accounting.calibration import calibrate
from fedpriv.accounting.groups import Groups
from fedpriv.accounting.release import Composition
from fedpriv.accounting.tree import squared_sensitivity
from fedpriv.errors import ConfigError
from fedpriv.privacy import ClippingGrid, Mechanism
from fedpriv.privacy.mechanisms import FtrlBanded, FtrlTree
from fedpriv.streams import Streams

from .central import CentralChoice
from .choice import Setting, given

_NOTHING_DRAWN = Streams(keys={})  # of a mechanism that is asked for its plan only


@final
class TreeNoise(CentralChoice):
    """``privacy=ftrl_tree``."""

    def accounting(self, **asked: Any) -> Accounting:
        _check_turns(self.setting, "round_robin", "all")
        return super().accounting(**asked)

    def calibrated(self, target_epsilon: float, accounting: Accounting) -> np.ndarray:
        rounds = self.setting.config.rounds
        tree = self.mechanism(np.ones(1), _NOTHING_DRAWN, self.setting.sampler)
        planned = tree.planned(np.zeros(0), first_round=1, last_round=rounds, attempt=0)
        _, who = accounting.worst(planned)
        worst: Any = planned[who] if who is not None else {}

        def at(noise_multiplier: float) -> Composition:
            return {replace(release, noise_multiplier=noise_multiplier): times for release, times in worst.items()}

        return np.array([calibrate(release_at=at, target_epsilon=target_epsilon, **asdict(accounting))])

    def _made(self, **shared: Any) -> Mechanism:
        config = self.setting.config
        every = config.privacy.restart_every or best_restart(
            rounds=config.rounds, separation=self.setting.sampler.law.separation
        )
        return FtrlTree(
            grid=_grid(self.setting),
            groups=Groups(rounds=config.rounds, restart_every=every),
            **shared,
        )


@final
class BandedNoise(CentralChoice):
    """``privacy=ftrl_banded``."""

    def accounting(self, **asked: Any) -> Accounting:
        _check_turns(self.setting, "round_robin", "all", "cyclic_poisson")
        self.mechanism(np.ones(1), _NOTHING_DRAWN, self.setting.sampler)  # which refuses too many bands
        return super().accounting(**asked)

    def _made(self, **shared: Any) -> Mechanism:
        config, separation = self.setting.config, self.setting.sampler.law.separation
        return FtrlBanded(
            grid=_grid(self.setting),
            groups=Groups(rounds=config.rounds, restart_every=config.rounds),
            bands=min(separation, config.rounds) if config.privacy.bands is None else config.privacy.bands,
            **shared,
        )


def best_restart(*, rounds: int, separation: int) -> int:
    """Rounds of a tree, a power of two or all, for the least noise in the model: mean square over all prefix sums.

    For a client that takes part in the first round and every ``separation`` rounds after.
    """
    powers = [2**level for level in range(rounds.bit_length()) if 2**level < rounds]
    best: int = min([*powers, rounds], key=lambda every: _mean_square(rounds, separation, every))
    return best


def _mean_square(rounds: int, separation: int, every: int) -> float:
    """Of the noise in a prefix sum, at a fixed epsilon, up to a factor."""
    starts = range(0, rounds, every)
    took_part = np.arange(rounds) % separation == 0
    sensitivity = sum(squared_sensitivity(took_part[s : s + every].astype(np.int64)) for s in starts)
    sums = [int(i).bit_count() for i in range(1, every + 1)]
    before = sums[-1] * np.repeat(np.arange(len(starts)), every)[:rounds]
    return float(sensitivity * (before + np.tile(sums, len(starts))[:rounds]).mean())


def _grid(setting: Setting) -> ClippingGrid:
    return ClippingGrid(clipping_norm=given(setting.config.privacy.clipping_norm), summands=setting.num_clients)


def _check_turns(setting: Setting, *kinds: str) -> None:
    law = setting.sampler.law
    if law.kind not in kinds:
        raise ConfigError(
            f"sampling={law.kind} lets a client come back at any time, but rounds of "
            f"privacy={setting.config.privacy.mechanism} share their noise: use sampling=auto, or one of "
            f"{', '.join(kinds)}."
        )
