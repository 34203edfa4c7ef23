"""What a run's audit log decided, whether or not it was interrupted on the way."""

import json
from pathlib import Path
from typing import Any

from fedpriv.errors import DamagedRunError

_STARTS = ("started", "resumed")
_CHAIN = ("hash", "index", "prev")
_OF_ONE_START = ("event", "round", "attempt", "notes")


def read_log(path: Path) -> list[dict[str, Any]]:
    """Every line of a log, unchecked.

    Raises:
        DamagedRunError: it cannot be read.
    """
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise DamagedRunError(f"Cannot read {path} ({error}). Restore it from a copy.") from error
    return [line for line in lines if isinstance(line, dict)]


def starts(path: Path) -> list[dict[str, Any]]:
    """The lines by which the run began, and went on."""
    return [line for line in read_log(path) if line.get("event") in _STARTS]


def was_interrupted(path: Path) -> bool:
    """Whether it took more than one start."""
    return len(starts(path)) != 1


def decisions(path: Path) -> list[dict[str, Any]]:
    """What an interrupted run has in common with one that never was.

    First the terms of the last start, then every decision that stands: rounds that were trained again decided anew.
    How a start failed or was interrupted (a line with ``error``) is none.
    """
    found: list[dict[str, Any]] = []
    terms: dict[str, Any] = {}
    for line in read_log(path):
        plain = {key: value for key, value in line.items() if key not in _CHAIN}
        if line.get("event") in _STARTS:
            terms = {key: value for key, value in plain.items() if key not in _OF_ONE_START}
            found = [earlier for earlier in found if earlier.get("round", 0) <= line.get("round", 0)]
        elif "error" not in line:
            found.append(plain)
    return [terms, *found]
