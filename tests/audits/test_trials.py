"""Runs with and without a canary, told apart by a threshold that other runs have found."""

import pytest

from fedpriv.audits.trials import Trial, best_threshold, errors_of
from fedpriv.errors import ConfigError


def test_the_threshold_is_where_the_bound_is_best_and_errors_are_counted_on_its_sides():
    trials = [Trial(run=k, included=k % 2 == 0, score=float(k % 2 == 0) + k / 100) for k in range(20)]
    threshold = best_threshold(trials, lambda errors: -errors["missed"] - errors["false_alarms"])
    assert 0.19 < threshold < 1.0
    assert errors_of(trials, threshold) == {"runs_with": 10, "runs_without": 10, "missed": 0, "false_alarms": 0}
    assert errors_of(trials, 5.0)["missed"] == 10
    with pytest.raises(ConfigError, match="fell alike"):
        best_threshold(trials[::2], lambda errors: 0.0)
