"""Is what a run folder says true? Everything that can be recomputed from its files is."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedpriv.accounting.budget import Accounting
from fedpriv.accounting.guarantee import state_guarantee
from fedpriv.accounting.ledger import ReleaseEntry
from fedpriv.errors import ConfigError, DamagedRunError
from fedpriv.records.hashchain import ChainMismatchError, read_chain
from fedpriv.records.run_folder import RunFolder
from fedpriv.records.run_record import RunRecord

_TOLERANCE = 1e-6  # relative; the same accountant on the same numbers


@dataclass(frozen=True)
class Verdict:
    """Whether a run folder holds, and why."""

    holds: bool
    lines: tuple[str, ...]


def verify(path: Path) -> Verdict:
    """Check the ledger's chain against ``run.json`` and recompute the guarantee from its raw numbers.

    Raises:
        InputError: the folder, or a file of it, cannot be read.
    """
    folder = RunFolder(path)
    record = folder.read_run_json()
    ended = record.status in ("completed", "stopped_at_budget")
    try:
        lines = read_chain(
            folder.ledger, trusted_count=record.ledger.count, trusted_head=record.ledger.head, exact=ended
        )
        decisions = read_chain(folder.audit)
    except ChainMismatchError as error:
        return Verdict(False, (f"FAILS  {error}",))
    try:
        entries = [ReleaseEntry.from_json(line) for line in lines]
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedRunError(f"{folder.ledger} holds an entry that fedpriv did not write ({error!r}).") from error
    chain = f"holds  ledger: {len(lines)} entries, chained to the head in run.json"
    if wrong := list(_broken_terms(folder, record, decisions)):
        return Verdict(False, (chain, *(f"FAILS  {line}" for line in wrong)))
    return _guarantee(record, entries, chain, settled=record.status != "running")


def _broken_terms(folder: RunFolder, record: RunRecord, decisions: list[dict[str, Any]]) -> Iterator[str]:
    """Where config or guarantee are not what the audit log said when training started."""
    starts = [line for line in decisions if line.get("event") in ("started", "resumed")]
    if not starts:
        if record.guarantee is not None:
            yield "a guarantee is stated, but the audit log knows of no start"
        return
    try:
        config = hashlib.sha256(folder.config.read_bytes()).hexdigest()
    except OSError as error:
        raise DamagedRunError(f"Cannot read {folder.config}: {error.strerror}.") from error
    if config != starts[-1].get("config"):
        yield "config.yaml is not the one that the run was started with"
    stated, terms = record.guarantee, starts[-1].get("terms")
    if stated is None:
        return
    if terms is None:
        yield "a guarantee is stated, but the run was started without a mechanism"
        return
    for key, value in terms.items():
        if not _same(value, stated.get(key)):
            yield f"guarantee: {key} is stated as {stated.get(key)}, but the run was started with {value}"


def _guarantee(record: RunRecord, entries: list[ReleaseEntry], chain: str, *, settled: bool) -> Verdict:
    stated = record.guarantee
    if stated is None:
        if entries and settled:
            return Verdict(False, (chain, "FAILS  releases were made, but run.json states no guarantee"))
        return Verdict(True, (chain, "holds  no guarantee is stated" + ("" if settled else " yet: unfinished")))
    try:
        earned = state_guarantee(
            entries,
            accounting=Accounting(delta=stated["delta"], relation=stated["relation"], accountant=stated["accountant"]),
            delta_rule=stated["delta_rule"],
            population=stated["population"],
            noise_secret=stated["noise_secret"],
            caveats=stated["caveats"],
        )
    except (KeyError, TypeError, ConfigError) as error:
        return Verdict(False, (chain, f"FAILS  the guarantee cannot be recomputed: {error}"))
    if earned is None:
        return Verdict(False, (chain, "FAILS  a guarantee is stated, but the ledger holds no release"))
    recomputed = earned.to_json()
    wrong = [key for key in recomputed if not _same(recomputed[key], stated.get(key))]
    wrong += [key for key in stated if key not in recomputed]
    if list(record.guarantees) != [stated]:
        wrong.append("guarantees")
    if wrong:
        told = "; ".join(f"{key}: stated {stated.get(key)}, earned {recomputed.get(key)}" for key in wrong)
        return Verdict(False, (chain, f"FAILS  guarantee: {told}"))
    return Verdict(
        True,
        (
            chain,
            f"holds  epsilon {earned.epsilon:.6f} at delta {earned.delta:.3g}, recomputed by {earned.method}",
        ),
    )


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, int | float):
        return math.isclose(left, right, rel_tol=_TOLERANCE)
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    return bool(left == right)
