"""What is said at the end of a sweep."""

from collections import Counter

from rich.console import Console
from rich.markup import escape

from fedpriv.sweeps.board import Status
from fedpriv.sweeps.sweep import Swept

_SAID: dict[Status, str] = {
    "done": "trained",
    "skipped": "done before",
    "failed": "failed",
    "waiting": "not begun",
}


def tell(swept: Swept, console: Console) -> None:
    """How many ended how, notes, each failure in a line, and where the runs lie."""
    counts = Counter(state.status for state in swept.states)
    told = [f"{counts[status]} {words}" for status, words in _SAID.items() if counts[status]]
    runs = "1 run" if len(swept.jobs) == 1 else f"{len(swept.jobs)} runs"
    console.print(f"{runs}: {', '.join(told)}.")
    labels: dict[str, list[str]] = {}
    for job, state in zip(swept.jobs, swept.states, strict=True):
        for note in state.notes:
            labels.setdefault(note, []).append(job.label)
    for note, jobs in labels.items():
        more = f" and {len(jobs) - 2} more" if len(jobs) > 2 else ""
        console.print(f"Note: {escape(', '.join(jobs[:2]) + more)}: {escape(note)}")
    for failure in dict.fromkeys(f"{job.label}: {state.error or ''}" for job, state in swept.failed):
        console.print(f"Failed: {escape(failure)}")
    if swept.is_search:
        console.print(
            "Note: each epsilon is its own run's. It covers no choice among runs: what is published of a search has "
            "cost more than the run that is chosen."
        )
    for folder in sorted({folder.parent for folder in swept.folders}):
        console.print(f"Runs: {escape(str(folder))}")
