"""How a contender is asked, in a process of its own: `python -m MODULE WORKLOAD ROUNDS [OPTION ...]`."""

import contextlib
import json
import sys
from collections.abc import Callable, Sequence

from benchmarks.workloads import WORKLOADS, Workload

Contender = Callable[[Workload, int, Sequence[str]], Sequence[float]]
"""From a workload, a number of rounds and options to the wall seconds of each round."""


def answer(contender: Contender) -> None:
    """Do what the command line asks for, and print ``{"seconds": [...]}`` as the last line of standard output."""
    name, rounds, *options = sys.argv[1:]
    with contextlib.redirect_stdout(sys.stderr):  # frameworks talk
        seconds = list(contender(WORKLOADS[name], int(rounds), options))
    if len(seconds) != int(rounds):
        raise RuntimeError(f"{rounds} rounds were asked for, and {len(seconds)} were timed.")
    print(json.dumps({"seconds": seconds}), flush=True)
