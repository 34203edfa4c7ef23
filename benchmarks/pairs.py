"""Contenders in alternating pairs with the bare loop, each measurement in a process of its own."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.workloads import ROOT, Workload

BARE = "bare"
_PATIENCE = 1800.0  # seconds of one measurement

Row = dict[str, Any]
"""One line of ``latest.json``; ``row`` says which keys there are."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """Something that trains a workload's rounds.

    Attributes:
        module: is run as ``benchmarks.answer`` says.
        options: its further arguments.
        python: the interpreter; a peer has one of its own.
        takes: whether a workload means anything to it.
        fewer: by workload, how many rounds are measured where one takes very long.
    """

    name: str
    module: str
    options: tuple[str, ...]
    python: Path
    takes: Callable[[Workload], bool]
    fewer: Mapping[str, int]

    def rounds(self, workload: Workload) -> int:
        """Measured rounds."""
        return self.fewer.get(workload.name, workload.rounds)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One measurement.

    Attributes:
        seconds: of a round, mean over the measured ones.
        outside: seconds of the process outside of its rounds: start-up and end.
    """

    seconds: float
    outside: float


class ContenderError(Exception):
    """A contender could not be run; says why in one line."""


Measure = Callable[[Contender, Workload], Measured]


def measure(contender: Contender, workload: Workload) -> Measured:
    """Run a contender's rounds; the first ``warm_up`` are not counted.

    Raises:
        ContenderError: it failed, or took too long.
    """
    if not contender.python.exists():
        raise ContenderError("not installed")
    rounds = workload.warm_up + contender.rounds(workload)
    command = [str(contender.python), "-m", contender.module, workload.name, str(rounds), *contender.options]
    began = time.perf_counter()
    try:
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise ContenderError(f"no answer in {_PATIENCE:g} s") from error
    wall = time.perf_counter() - began
    if ran.returncode:
        print(ran.stderr, file=sys.stderr)
        raise ContenderError(f"failed: {(ran.stderr.strip().splitlines() or ['without a word'])[-1]}")
    seconds = json.loads(ran.stdout.splitlines()[-1])["seconds"]
    return Measured(seconds=statistics.mean(seconds[workload.warm_up :]), outside=wall - sum(seconds))


def compare(
    workload: Workload, contenders: Sequence[Contender], *, pairs: int, measure: Measure, machine: str
) -> list[Row]:
    """Rows of one workload, the bare loop's first.

    Every contender is paired with a bare loop of its own, run right before it or right after it in turn; pairs of
    different contenders alternate, so that a machine that slows down slows all of them.
    """
    bare, *others = [c for c in contenders if c.takes(workload)]
    if bare.name != BARE:
        raise ValueError(f"The first contender is {bare.name}, not {BARE}.")
    done: dict[str, list[tuple[Measured, Measured]]] = {other.name: [] for other in others}
    failed: dict[str, str] = {}
    for pair in range(pairs):
        for other in others or [bare]:
            if other.name in failed:
                continue
            found: dict[str, Measured] = {}
            for contender in [bare, other] if pair % 2 == 0 else [other, bare]:
                try:
                    found[contender.name] = measure(contender, workload)
                except ContenderError as error:
                    failed[contender.name] = str(error)
            if bare.name in failed:
                failed = {**dict.fromkeys((c.name for c in others), "the bare loop failed"), **failed}
            elif other.name in found:
                done.setdefault(other.name, []).append((found[bare.name], found[other.name]))
    ran = [base for measured in done.values() for base, _ in measured]
    rows = [row(workload, bare, [(base, base) for base in ran], machine=machine, note=failed.get(bare.name))]
    for other in others:
        rows.append(row(workload, other, done[other.name], machine=machine, note=failed.get(other.name)))
    return rows


def row(
    workload: Workload,
    contender: Contender,
    measured: Sequence[tuple[Measured, Measured]],
    *,
    machine: str,
    note: str | None,
) -> Row:
    """What was measured of a contender, as medians over pairs of (bare, contender); null where nothing was."""
    ratios = [own.seconds / base.seconds for base, own in measured]
    return {
        "workload": workload.name,
        "contender": contender.name,
        "seconds_per_round": _median([own.seconds for _, own in measured]),
        "ratio": _median(ratios),
        "ratio_least": min(ratios, default=None),
        "ratio_most": max(ratios, default=None),
        "pairs": len(measured),
        "rounds": contender.rounds(workload),
        "outside_seconds": _median([own.outside for _, own in measured]),
        "machine": machine,
        "note": note,
    }


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None
