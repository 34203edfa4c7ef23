"""Where a run goes on after it was stopped, and whether what it releases then is what was paid for."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from fedpriv.accounting.ledger import ReleaseEntry
from fedpriv.privacy import Retirement
from fedpriv.records.checkpoint import Checkpoint
from fedpriv.records.hashchain import GENESIS
from fedpriv.records.run_record import ChainMark, RunRecord


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where training goes on: a checkpoint, or round 0."""

    round: int
    attempt: int
    metrics: Mapping[str, Any]
    seconds: float
    environment: Mapping[str, Any] | None
    tensors: Mapping[str, torch.Tensor] | None
    noise_multipliers: np.ndarray | None
    retirement: Retirement | None

    @staticmethod
    def of(checkpoint: Checkpoint | None, *, force: bool) -> "Start":
        if checkpoint is None or force:
            environment = None if checkpoint is None else checkpoint.state["environment"]
            return Start(
                round=0,
                attempt=0,
                metrics={},
                seconds=0.0,
                environment=environment,
                tensors=None,
                noise_multipliers=None,
                retirement=None,
            )
        state, tensors = checkpoint.state, checkpoint.tensors
        retirement = None
        if "plan/left" in tensors:
            retirement = Retirement(since=int(tensors["plan/since"]), left=tensors["plan/left"].numpy())
        return Start(
            round=state["round"],
            attempt=state["attempt"],
            metrics=state["metrics"],
            seconds=state["seconds"],
            environment=state["environment"],
            tensors=tensors,
            noise_multipliers=tensors["plan/noise_multipliers"].numpy(),
            retirement=retirement,
        )

    def from_round_one(self) -> "Start":
        """For an algorithm whose state no checkpoint holds: plan, attempt and what was paid stay as they are."""
        return replace(self, round=0, metrics={}, tensors=None)


def choose_attempt(entries: Sequence[ReleaseEntry], *, start_round: int, attempt: int, same_coins: bool) -> int:
    """The attempt that rounds after ``start_round`` belong to.

    Rounds whose entries a killed attempt wrote are trained again. If that gives the same release bit for bit,
    it is the one that was paid for; if anything could differ, the same noise on another update would cancel
    out, so a fresh attempt draws fresh noise and pays again.
    """
    pending = is_pending(entries, start_round=start_round, attempt=attempt)
    superseded = any(entry.attempt > attempt for entry in entries)
    if not superseded and (same_coins or not pending):
        return attempt
    return 1 + max(entry.attempt for entry in entries)


def is_pending(entries: Sequence[ReleaseEntry], *, start_round: int, attempt: int) -> bool:
    """Whether the attempt has entries of rounds that are to be trained again."""
    return any(entry.attempt == attempt and entry.round > start_round for entry in entries)


def latest_mark(checkpoint: Checkpoint | None, earlier: RunRecord | None) -> ChainMark:
    """How far the ledger is known to have been: ``run.json`` may be ahead of the checkpoint."""
    marks = [ChainMark(head=GENESIS, count=0)]
    if checkpoint is not None:
        marks.append(ChainMark(**checkpoint.state["ledger"]))
    if earlier is not None:
        marks.append(earlier.ledger)
    return max(marks, key=lambda mark: mark.count)


def key_name(noise_key: bytes | None) -> str | None:
    """Tells secret keys apart, and nothing else about them."""
    return None if noise_key is None else hashlib.sha256(b"fedpriv name" + noise_key).hexdigest()[:16]
