"""How work is cut and which engine does it: a deterministic function of settings, never of a clock."""

import math
from dataclasses import dataclass

_CHUNKS_PER_COHORT = 16


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """Part of what the run id hashes.

    Attributes:
        engine: ``sgd`` (plain steps) or ``opacus`` (DP-SGD).
        chunk_size: clients of one float sum; depends on neither nodes nor workers.
        threads: of every worker.
    """

    engine: str
    chunk_size: int
    threads: int


def choose_tuning(
    *, engine: str, example_level: bool, expected_cohort: float, clients_per_node: int | None, threads: int
) -> Tuning:
    """Fine enough for every sensible number of workers, coarse enough for one message a node."""
    chunk_size = max(1, math.ceil(expected_cohort / _CHUNKS_PER_COHORT))
    if clients_per_node is not None:
        chunk_size = min(chunk_size, clients_per_node)
    chosen = ("opacus" if example_level else "sgd") if engine == "auto" else engine
    return Tuning(engine=chosen, chunk_size=chunk_size, threads=threads)
