"""Trials of a repeated audit: many runs, each with the canary or without, told apart by a threshold."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

from fedpriv.errors import ConfigError

Errors = dict[str, int]
"""``runs_with``, ``runs_without``, ``missed`` and ``false_alarms``, as the bounds take them."""


@final
@dataclass(frozen=True, kw_only=True)
class Trial:
    """One run: whether the canary's coin put it in, and how much it looks as if it was."""

    run: int
    included: bool
    score: float


def best_threshold(pilots: Sequence[Trial], bound: Callable[[Errors], float]) -> float:
    """Midway between two scores of the pilots: where they give the best bound, of several the one of fewest errors.

    Raises:
        ConfigError: the canary was in all pilots, or in none.
    """
    if len({trial.included for trial in pilots}) < 2:
        raise ConfigError(f"The canary's coin fell alike in all {len(pilots)} pilots: use more runs.")
    scores = sorted(trial.score for trial in pilots)
    between = [(low + high) / 2 for low, high in pairwise(scores)]

    def worth(threshold: float) -> tuple[float, int]:
        errors = errors_of(pilots, threshold)
        return bound(errors), -errors["missed"] - errors["false_alarms"]

    return max(between, key=worth)


def errors_of(trials: Sequence[Trial], threshold: float) -> Errors:
    """Runs above the threshold are taken to have the canary."""
    inside = [trial.score for trial in trials if trial.included]
    outside = [trial.score for trial in trials if not trial.included]
    return {
        "runs_with": len(inside),
        "runs_without": len(outside),
        "missed": sum(score <= threshold for score in inside),
        "false_alarms": sum(score > threshold for score in outside),
    }
