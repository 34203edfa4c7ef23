"""Where fedpriv's time goes: a look at the main thread every millisecond, counted by the part that it was in.

A look counts for the innermost function of fedpriv's own that was running; what torch or numpy did is counted for
who called it. Looks are taken between two bytecodes, so no function is slowed down more than another.
"""

import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import fedpriv
from benchmarks.with_fedpriv import main as train
from benchmarks.workloads import Workload

_PACKAGE = f"{Path(fedpriv.__file__).parent}/"
_INTERVAL = 0.001
OUTSIDE = "start-up and end"
ENCODING = "encoding, clipping, noise of sums"
# The first that fits says what a function of fedpriv is part of.
_PARTS = {
    "privacy/": ENCODING,
    "training/": "local training",
    "models/": "local training",
    "data/": "reading data",
    "streams.py": "streams",
    "federation/messages.py": "messages",
    "runtimes/": "runtime, waiting for workers",
    "federation/node.py": "node",
    "federation/": "server step",
    "records/": "records and ledger",
    "experiment/recording.py": "records and ledger",
    "accounting/": "records and ledger",
    "evaluation/": "evaluation",
}
_ROUNDS = "federation/server_app.py"


class Looks:
    """Counts of what was seen, by part and by function."""

    def __init__(self) -> None:
        self.parts: Counter[str] = Counter()
        self.functions: Counter[str] = Counter()

    def add(self, frame: FrameType | None) -> None:
        """Count the stack that ends in ``frame``."""
        codes = [f.f_code for f in _outwards(frame) if f.f_code.co_filename.startswith(_PACKAGE)]
        own = [(code.co_filename.removeprefix(_PACKAGE), code.co_name) for code in codes]
        if not any(file == _ROUNDS for file, _ in own):
            self.parts[OUTSIDE] += 1
            return
        file, name = own[0]
        self.parts[next((part for start, part in _PARTS.items() if file.startswith(start)), "other")] += 1
        self.functions[f"{file}: {name}"] += 1


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


@contextmanager
def looking() -> Iterator[Looks]:
    """Look at the main thread until the end of the block; on Unix only."""
    looks = Looks()
    handler = signal.signal(signal.SIGALRM, lambda _, frame: looks.add(frame))
    timer = signal.setitimer(signal.ITIMER_REAL, _INTERVAL, _INTERVAL)
    try:
        yield looks
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *timer)  # somebody else's goes on, a test runner's for one


def profile(workload: Workload, overrides: Sequence[str], *, workers: int) -> str:
    """Train in this process (``workers`` = 1), or only serve from it; a Markdown table of seconds and shares."""
    rounds = workload.warm_up + workload.rounds
    began = time.perf_counter()
    with looking() as looks:
        train(workload, rounds, overrides, workers=workers)
    wall = time.perf_counter() - began
    per_look = wall / max(sum(looks.parts.values()), 1)
    inside = sum(looks.parts.values()) - looks.parts[OUTSIDE]
    where = "all in one process" if workers == 1 else f"the server's process; {workers} workers train"
    lines = [f"{workload.name}, {rounds + 1} rounds, {where}: {wall:.1f} s.", ""]
    lines += ["| part | seconds | share of the rounds |", "| --- | --- | --- |"]
    for part, looks_at in looks.parts.most_common():
        share = "-" if part == OUTSIDE else f"{looks_at / inside:.1%}"
        lines.append(f"| {part} | {looks_at * per_look:.2f} | {share} |")
    lines += ["", "| function | share of the rounds |", "| --- | --- |"]
    lines += [f"| {name} | {count / inside:.1%} |" for name, count in looks.functions.most_common(15)]
    return "\n".join(lines) + "\n"


def main(workloads: Sequence[Workload], overrides: Sequence[str]) -> None:
    for workload in workloads:
        for workers in (1, 2):
            print(profile(workload, overrides, workers=workers), flush=True)
