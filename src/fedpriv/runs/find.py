"""From paths to runs: those that ended and hold together are read, all others are listed with the reason."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from fedpriv.errors import FedprivError, InputError, in_one_line
from fedpriv.records.run_folder import RunFolder
from fedpriv.records.run_record import RunRecord
from fedpriv.verification import verify

from .run import Run
from .runs import Runs, Unread

_ROUNDING = 1e-6
_MARKS = {"run.json", "ledger.jsonl", "audit.jsonl"}  # a damaged folder may lack one


def load(*paths: Path | str) -> Runs:
    """Read finished runs, for notebooks: ``fedpriv.load("outputs/digits")``.

    Args:
        paths: run folders, or folders with runs below.

    Returns:
        A sequence of ``Run`` with ``to_frame()``; ``others`` are the folders that were left out, with the reason.

    Raises:
        InputError: a path is no folder, or has no run below.
    """
    return find_runs([Path(path) for path in paths])


def find_runs(paths: Sequence[Path]) -> Runs:
    """The runs in these folders.

    Every run is verified: its guarantee is recomputed from the ledger, and one that does not hold is not among
    ``runs``, but among ``others``. So is a second copy of a run that was found already.

    Args:
        paths: run folders, or folders with run folders anywhere below, such as a sweep's ``OUTPUT_DIR/NAME``.

    Raises:
        InputError: a path is no folder, or has no run folder below.
    """
    folders = dict.fromkeys(folder for path in paths for folder in _run_folders(path))
    found: dict[tuple[str, str], Run] = {}
    others = list[Unread]()
    for path in folders:
        run = _read(path)
        if isinstance(run, Unread):
            others.append(run)
            continue
        same = found.setdefault((run.record.run_id, run.record.revision), run)
        if same is not run:
            others.append(Unread(path, run.record.status, f"the same run as {same.path}"))
    return Runs(tuple(found.values()), tuple(others))


def _run_folders(path: Path) -> list[Path]:
    path = path.expanduser().resolve()
    if not path.is_dir():
        raise InputError(f"There is no folder {path}. Give a run's folder, or one with runs below, as OUTPUT_DIR/NAME.")
    if not (found := sorted(_below(path))):
        raise InputError(f"There is no run in {path} or below. Give the folder that runs were written to.")
    return found


def _below(path: Path) -> Iterator[Path]:
    for folder, inner, files in os.walk(path):
        if _MARKS.intersection(files):
            inner.clear()
            yield Path(folder)


def _read(path: Path) -> Run | Unread:
    status: str | None = None
    try:
        record = RunFolder(path).read_run_json()
        status = record.status
        if not record.is_done:
            return Unread(path, status, _unfinished(record, path))
        verdict = verify(path)
        if not verdict.holds:
            failed = next(line for line in verdict.lines if line.startswith("FAILS"))
            return Unread(path, status, f"does not hold: {failed.removeprefix('FAILS').strip()}")
        run = Run(
            path=path,
            record=record,
            config=_config(path),
            guarantee=None if verdict.guarantee is None else verdict.guarantee.to_json(),
            also=tuple(further.to_json() for further in verdict.guarantees[1:] if further is not None),
        )
        return Unread(path, status, reason) if (reason := _tables_damage(run)) else run
    except FedprivError as error:
        return Unread(path, status, str(error))
    except Exception as error:  # what somebody wrote into a folder may fail in any way; the others are still read
        return Unread(path, status, f"cannot be read: {in_one_line(error)}")


def _tables_damage(run: Run) -> str | None:
    """What is wrong with the tables, which nothing verifies.

    Raises:
        DamagedRunError: one cannot be read.
    """
    _ = run.clients
    told = run.rounds["epsilon"].to_pylist() if "epsilon" in run.rounds.column_names else []
    if run.epsilon is not None and told and (told[-1] is None or told[-1] < run.epsilon * (1 - _ROUNDING)):
        return "rounds.parquet tells of less epsilon than the ledger holds"
    for name, stated in run.record.metrics.items():
        if name.startswith("test_") and name in run.rounds.column_names:
            tested = [value for value in run.rounds[name].to_pylist() if value is not None]
            if not tested or not _same(tested[-1], stated):
                return f"run.json's {name} is not that of the last test in rounds.parquet"
    return None


def _same(tested: float, stated: float | None) -> bool:
    """In run.json what is not finite is null."""
    if stated is None or not math.isfinite(tested):
        return stated is None and not math.isfinite(tested)
    return math.isclose(tested, stated, rel_tol=_ROUNDING, abs_tol=_ROUNDING)


def _config(path: Path) -> Mapping[str, Any]:
    """That it is the one of the start was verified."""
    config: Mapping[str, Any] = yaml.load(RunFolder(path).config.read_bytes(), Loader=_LOADER)
    return config


_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _unfinished(record: RunRecord, path: Path) -> str:
    if record.error:
        return record.error
    went = {"running": "runs, or was killed", "interrupted": "was interrupted"}.get(record.status, record.status)
    return f"{went} after {record.rounds} rounds; fedpriv resume {path} goes on with it"
