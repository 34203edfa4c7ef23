"""What of a run trackers are told, and may store: everything, or, where the noise is secret, what others may see.

With ``seeds.noise=secret`` cohorts, diagnostics and whatever else no guarantee covers are for the curator only.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fedpriv.records.run_folder import RunFolder
from fedpriv.records.run_record import RunRecord
from fedpriv.records.tables import read_table

_SHARED = ("round", "epsilon", "attempt", "baseline")


def shared_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """What of a round, or of a run's metrics, others than the curator may see."""
    return {name: value for name, value in row.items() if name in _SHARED or name.startswith("test_")}


def shared_record(record: RunRecord) -> RunRecord:
    """The same of a run: an error may name clients, or hold what one holds."""
    return replace(record, metrics=shared_row(record.metrics), error=None)


def settings(folder: Path) -> dict[str, Any]:
    """The run's config, flat: dotted key -> value; without ``tracking``, which changes no result."""
    nested = _config(folder)
    nested.pop("tracking", None)
    return dict(_flat(nested, ""))


def artifacts(folder: Path) -> list[Path]:
    """The files of a run that a tracker may store, but for the model: never a key, a lock or a checkpoint."""
    run = RunFolder(folder)
    files = [run.config, run.guarantee_json, run.guarantee_md]
    if not _is_secret(folder):
        files += [run.run_json, run.ledger, run.audit, run.rounds, run.clients]
    return [file for file in files if file.exists()]


def rounds_so_far(folder: Path) -> list[dict[str, Any]]:
    """The rows of the rounds that the folder holds, as ``round_done`` told them."""
    table = read_table(folder, "rounds")
    rows: list[dict[str, Any]] = [] if table is None else table.to_pylist()
    return [shared_row(row) for row in rows] if _is_secret(folder) else rows


def numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """What of a row can be drawn: finite numbers, but for the round itself."""
    return {
        name: float(value)
        for name, value in row.items()
        if name != "round" and isinstance(value, int | float) and math.isfinite(value)
    }


def results(record: RunRecord) -> dict[str, float]:
    """A finished run's metrics, guarantee and audit, as numbers; where nothing is claimed there is no epsilon."""
    claim = {} if record.guarantee is None else record.guarantee
    earned = {f"guarantee_{key}": claim.get(key) for key in ("epsilon", "delta")}
    shown = {"audit_empirical_epsilon": (record.audited or {}).get("empirical_epsilon")}
    return numbers({**record.metrics, **earned, **shown})


def _config(folder: Path) -> dict[str, Any]:
    import yaml  # type: ignore[import-untyped]

    config: dict[str, Any] = yaml.safe_load(RunFolder(folder).config.read_text(encoding="utf-8"))
    return config


def _is_secret(folder: Path) -> bool:
    return bool(_config(folder)["seeds"]["noise"] == "secret")


def _flat(nested: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in nested.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
