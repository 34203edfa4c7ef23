"""`run.json`: what a run is, how far it came and what it guarantees."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from fedpriv.errors import DamagedRunError, InputError
from fedpriv.records.atomic import write_json_atomic

SCHEMA_VERSION = 1
Status = Literal["running", "completed", "stopped_at_budget", "interrupted", "failed"]
_MEND = "Restore it from a copy, or run again with force=true."


@dataclass(frozen=True, kw_only=True)
class ChainMark:
    """How far a chain (ledger, audit log) was when `run.json` was written."""

    head: str
    """Hash of the last line (64 zeros: no line)."""
    count: int
    """Number of lines."""


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How the run was executed; none of it changes the result."""

    rounds_trained: int
    """Rounds trained over all attempts, those trained again after a crash included."""
    resumed_from: int | None
    """The checkpoint's round from which the last attempt went on, or None."""
    worker_pids: Sequence[int]
    """Process ids of the last attempt's workers."""
    attempts: int
    """Times the run was started or resumed."""


@dataclass(frozen=True, kw_only=True, repr=False)
class RunRecord:
    """The fields of `run.json`. Numbers that are not finite are written as null."""

    status: Status
    run_id: str
    name: str
    seed: int
    metrics: Mapping[str, float | None]
    """`test_accuracy`, `test_loss`, ..."""
    guarantee: Mapping[str, Any] | None
    """The headline guarantee; None: no claim."""
    guarantees: Sequence[Mapping[str, Any]]
    rounds: int
    """Rounds done."""
    seconds: float
    """From the first round's start to the last evaluation's end, over all attempts."""
    packages: Mapping[str, str]
    revision: str
    ledger: ChainMark
    audit: ChainMark
    audited: Mapping[str, Any] | None
    """What canaries showed (``empirical_epsilon``, ``confidence``, ...), told beside ``audit``'s mark; None: none."""
    error: str | None
    """The one message of a failed run."""
    execution: Execution
    extra: Mapping[str, Any]
    """Further top-level keys."""

    def __repr__(self) -> str:
        """In one line: the whole of it is ``to_json``."""
        told = [f"{name}={value:.4g}" for name, value in self.metrics.items() if name.startswith("test_") and value]
        if self.guarantee is not None:
            told.append(f"epsilon={math.ceil(self.guarantee['epsilon'] * 1e4) / 1e4:g}")  # never below
        return f"RunRecord({', '.join([self.name, self.run_id, self.status, f'rounds={self.rounds}', *told])})"

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do; a run whose budget never allowed a round is not done, but refused."""
        return self.status in ("completed", "stopped_at_budget") and self.error is None

    @property
    def provenance(self) -> dict[str, Any]:
        """Which run this is, and the code that ran it."""
        return {key: getattr(self, key) for key in ("name", "run_id", "revision", "packages")}

    def to_json(self) -> dict[str, Any]:
        """The object that `run.json` holds.

        Raises:
            ValueError: `extra` has a key of the record's own.
        """
        own = {"schema_version": SCHEMA_VERSION} | {
            field.name: getattr(self, field.name) for field in fields(self) if field.name not in ("extra", "audited")
        }
        own |= {"ledger": asdict(self.ledger), "execution": asdict(self.execution)}
        own |= {"audit": asdict(self.audit) | dict(self.audited or {})}
        if clash := own.keys() & self.extra.keys():
            raise ValueError(f"extra keys that run.json has already: {', '.join(sorted(clash))}")
        return own | dict(self.extra)

    def save(self, path: Path) -> None:
        """Replace the file at `path`, all or nothing."""
        write_json_atomic(path, self.to_json())

    @classmethod
    def load(cls, path: Path) -> "RunRecord":
        """Read and check the file at `path`.

        Raises:
            DamagedRunError: missing, not JSON, or without a field that every run has.
            InputError: written by a later fedpriv.
        """
        try:
            value = json.loads(path.read_bytes())
        except OSError as error:
            raise DamagedRunError(f"Cannot read {path}: {error.strerror}. {_MEND}") from error
        except (ValueError, RecursionError) as error:
            raise DamagedRunError(f"{path} is not JSON. {_MEND}") from error
        if not isinstance(value, dict):
            raise DamagedRunError(f"{path} is not a run's record. {_MEND}")
        version = value.pop("schema_version", None)
        if type(version) is int and version > SCHEMA_VERSION:
            raise InputError(
                f"{path} was written by a later fedpriv (schema {version}). Install that version."
            )
        if version != SCHEMA_VERSION:
            raise DamagedRunError(f"{path}: no schema_version that fedpriv wrote. {_MEND}")
        for key, kinds in _KINDS.items():
            if key not in value:
                raise DamagedRunError(f"{path}: {key} is missing. {_MEND}")
            if not isinstance(value[key], kinds) or isinstance(value[key], bool):
                raise DamagedRunError(f"{path}: {key} is not of the kind that a run writes. {_MEND}")
        if value["status"] not in get_args(Status):
            raise DamagedRunError(f"{path}: unknown status {value['status']!r}. {_MEND}")
        own = {key: value.pop(key) for key in _KINDS}
        found = {key: told for key, told in own["audit"].items() if key not in ("head", "count")}
        try:
            own["audit"] = {key: own["audit"][key] for key in ("head", "count")}
            own |= {key: ChainMark(**own[key]) for key in ("ledger", "audit")}
            own["audited"] = found or None
            own |= {"execution": Execution(**own["execution"])}
        except (KeyError, TypeError) as error:
            raise DamagedRunError(f"{path}: ledger, audit or execution is incomplete. {_MEND}") from error
        return cls(**own, extra=value)


_KINDS: dict[str, Any] = {
    "status": str,
    "run_id": str,
    "name": str,
    "seed": int,
    "metrics": dict,
    "guarantee": dict | None,
    "guarantees": list,
    "rounds": int,
    "seconds": int | float,
    "packages": dict,
    "revision": str,
    "ledger": dict,
    "audit": dict,
    "error": str | None,
    "execution": dict,
}
