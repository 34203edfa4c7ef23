"""The results as JSON and as Markdown, with the machine that they are of."""

import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.pairs import BARE, Row

LATEST = Path(__file__).parent / "latest.json"


def machine() -> str:
    """CPU, cores and versions, in one line."""
    cpu = platform.processor() or platform.machine()
    try:
        told = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        cpu = told[0].partition(":")[2].strip() if told else cpu
    except OSError:
        pass  # not Linux
    return (
        f"{cpu}, {os.cpu_count()} cores; Python {platform.python_version()}, torch {version('torch')}, "
        f"opacus {version('opacus')}, flwr {version('flwr')}; two processes with one thread each"
    )


def write(rows: Sequence[Row], *, path: Path = LATEST) -> None:
    """Replace ``latest.json`` and, beside it, ``latest.md``."""
    path.write_text(json.dumps(rows, indent=1) + "\n")
    path.with_suffix(".md").write_text(markdown(rows))


def markdown(rows: Sequence[Row]) -> str:
    """A column for each workload, a line for each contender, and a word on each that could not run."""
    workloads = list(dict.fromkeys(row["workload"] for row in rows))
    names = list(dict.fromkeys(row["contender"] for row in rows))
    found = {(row["contender"], row["workload"]): row for row in rows}
    lines = ["Seconds a round over those of the bare loop next to it: median (least .. most) of pairs.", ""]
    lines += _head(["contender", *workloads])
    for name in names:
        lines.append(_line([name, *(_ratio(found.get((name, workload))) for workload in workloads)]))
    lines += ["", "Seconds outside of the rounds (start-up and end), median.", ""]
    lines += _head(["contender", *workloads])
    for name in names:
        lines.append(_line([name, *(_outside(found.get((name, workload))) for workload in workloads)]))
    notes = [f"{row['contender']} on {row['workload']}: {row['note']}." for row in rows if row["note"]]
    pairs = ", ".join(f"{workload} {found[BARE, workload]['rounds']}" for workload in workloads)
    lines += ["", f"Rounds of one measurement: {pairs}.", "", *notes, f"{rows[0]['machine']}." if rows else ""]
    return "\n".join(lines) + "\n"


def _head(cells: Sequence[str]) -> list[str]:
    return [_line(cells), _line(["---"] * len(cells))]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _ratio(row: Row | None) -> str:
    if row is None:
        return "-"
    if row["ratio"] is None:
        return "could not run"
    seconds = f"{row['seconds_per_round']:.3g} s"
    if row["contender"] == BARE:
        return f"1 ({seconds})"
    return f"{row['ratio']:.2f} ({row['ratio_least']:.2f} .. {row['ratio_most']:.2f}) of {row['pairs']}, {seconds}"


def _outside(row: Row | None) -> str:
    return "-" if row is None or row["outside_seconds"] is None else f"{row['outside_seconds']:.1f}"
