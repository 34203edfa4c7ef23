"""How long a sweep will take, from the rounds that it has trained itself."""

import pytest

from fedpriv.sweeps import table
from fedpriv.sweeps.board import JobState
from fedpriv.sweeps.table import Pace


@pytest.fixture
def clock(monkeypatch):
    """A clock to be set: ``clock(seconds)``."""
    now = [0.0]
    monkeypatch.setattr(table.time, "monotonic", lambda: now[0])

    def at(seconds):
        now[0] = seconds

    return at


def running(round_number):
    return JobState(status="running", folder="f", round=round_number, rounds=10)


def test_rounds_left_take_as_long_as_those_before(clock):
    pace = Pace()
    pace.saw(0, running(0))
    clock(20.0)  # imports, the first round: not how long a round takes
    pace.saw(0, running(1))
    assert pace.seconds_left(19) is None
    clock(24.0)
    pace.saw(0, running(5))
    assert pace.seconds_left(15) == pytest.approx(15.0)


def test_what_was_trained_before_took_no_time_here(clock):
    pace = Pace()
    pace.saw(0, JobState(status="skipped", folder="f", round=10, rounds=10))
    pace.saw(1, running(8))  # resumed
    pace.saw(2, JobState(status="failed", round=0, rounds=10))
    clock(10.0)
    assert pace.seconds_left(2) is None
    pace.saw(1, running(9))
    clock(15.0)
    pace.saw(1, JobState(status="done", folder="f", round=10, rounds=10))
    assert pace.seconds_left(4) == pytest.approx(20.0)


def test_nothing_is_left_at_the_end(clock):
    pace = Pace()
    pace.saw(0, running(0))
    pace.saw(0, running(1))
    clock(9.0)
    pace.saw(0, JobState(status="done", folder="f", round=10, rounds=10))
    assert pace.seconds_left(0) is None
