"""What of a run's rounds is kept for those who watch."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Watched:
    """Of each round its global model and cohort, and what else is asked for."""

    sums: bool
    updates: bool
