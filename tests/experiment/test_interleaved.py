"""Races: in turn, within their time, and won only by who is faster in every repeat."""

import pytest

from fedpriv.experiment.interleaved import REPEATS, Races, Timed


class Track:
    """Contenders whose seconds are known, on a clock that only they move."""

    def __init__(self, seconds, *, warm_up=0.0):
        self.now, self.order = 0.0, []
        self._seconds, self._warm_up = {name: list(values) for name, values in seconds.items()}, warm_up

    def prepare(self, name):
        self.now += self._warm_up
        return (lambda: self._run(name)) if self._seconds[name] else None

    def _run(self, name):
        left = self._seconds[name]
        seconds = left.pop(0) if len(left) > 1 else left[0]
        self.order.append(name)
        self.now += seconds
        return seconds

    def races(self):
        return Races(prepare=self.prepare, clock=lambda: self.now)


def timed(*seconds):
    return Timed(seconds=dict(enumerate(seconds)))


def test_contenders_take_turns():
    track = Track({"a": [1.0], "b": [1.1], "c": [0.9]})
    found = track.races().race(["a", "b", "c"], standing=1, until=1e9)
    assert track.order == ["a", "b", "c"] * REPEATS
    assert [len(found[name].seconds) for name in "abc"] == [REPEATS] * 3


def test_who_is_hopeless_after_one_repeat_leaves_unless_it_stands():
    track = Track({"standing": [10.0], "slow": [9.0], "fast": [1.0]})
    track.races().race(["standing", "slow", "fast"], standing=1, until=1e9)
    assert {name: track.order.count(name) for name in ("standing", "slow", "fast")} == {
        "standing": REPEATS,
        "slow": 1,
        "fast": REPEATS,
    }


@pytest.mark.parametrize("until", [0.0, 0.5, 3.0, 11.9, 12.1, 40.0])
def test_no_measurement_starts_that_would_end_too_late(until):
    track = Track({"a": [1.0], "b": [1.0]}, warm_up=1.0)
    races = track.races()
    races.race(["a", "b"], standing=1, until=until)
    assert track.now <= max(until, 0) + 1.0  # the first of its kind has no length to be known by
    assert races.complete == (until > 12.0)


def test_where_time_is_short_the_last_contenders_are_left_out():
    track = Track({name: [1.0] for name in "abcdefgh"}, warm_up=1.1)
    found = track.races().race(list("abcdefgh"), standing=1, until=13.1)
    assert list(found) == ["a", "b"]
    assert len(found["b"].seconds) == REPEATS


def test_who_cannot_take_part_is_left_out():
    track = Track({"a": [1.0], "broken": []})
    races = track.races()
    assert list(races.race(["a", "broken"], standing=1, until=1e9)) == ["a"]
    assert races.complete


def test_repeats_of_several_races_are_not_compared_across_races():
    track = Track({"a": [1.0] * REPEATS + [2.0], "b": [1.5]})
    races = track.races()
    races.race(["a"], standing=1, until=1e9)
    found = races.race(["a", "b"], standing=2, until=1e9)
    assert races.timed["b"].ratios(races.timed["a"]) == [0.75] * REPEATS
    assert found["b"].beats(found["a"])


def test_faster_means_in_every_repeat():
    assert timed(*[0.9] * REPEATS).beats(timed(*[1.0] * REPEATS))
    assert not timed(*[0.1] * (REPEATS - 1), 1.0).beats(timed(*[1.0] * REPEATS))
    assert not timed(*[0.1] * (REPEATS - 1)).beats(timed(*[1.0] * (REPEATS - 1)))  # too few to say so
    assert timed(1.0, 5.0, 2.0).median == 2.0
