"""Contenders timed in turn, so that a machine that slows down slows all of them."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

_C = TypeVar("_C")

REPEATS = 5
_HOPELESS = 1.5  # times the fastest, after one repeat: its other repeats are given to the others


@dataclass(frozen=True, kw_only=True)
class Timed:
    """Seconds of one contender.

    Attributes:
        seconds: number of the repeat -> seconds; contenders that share a number were measured right after each other.
    """

    seconds: dict[int, float] = field(default_factory=dict)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds.values())

    def ratios(self, other: "Timed") -> list[float]:
        """To the other's seconds, of the repeats that both took part in."""
        return [own / other.seconds[repeat] for repeat, own in self.seconds.items() if repeat in other.seconds]

    def beats(self, other: "Timed") -> bool:
        """Faster by more than the spread: in every one of all repeats."""
        ratios = self.ratios(other)
        return len(ratios) >= REPEATS and max(ratios) < 1


class Races(Generic[_C]):
    """Races among contenders, within a time limit that only a measurement in progress may exceed.

    Args:
        prepare: makes the function that measures a contender once, in seconds; None for one that cannot take part.
        clock: in seconds.
    """

    def __init__(self, *, prepare: Callable[[_C], Callable[[], float] | None], clock: Callable[[], float]) -> None:
        self._prepare, self._clock = prepare, clock
        self._repeats = 0
        self.timed: dict[_C, Timed] = {}
        """Of all races together."""
        self.complete = True
        """Whether there was time for all that was to be measured."""

    def part_of(self, until: float, races: int) -> float:
        """When the first of so many races shall stop, so that each has as much of the time."""
        now = self._clock()
        return now + max(0.0, until - now) / races

    def race(self, contenders: Sequence[_C], *, standing: int, until: float) -> Mapping[_C, Timed]:
        """Measure in turn. Where time is short, the last contenders are left out.

        Args:
            standing: how many of the first contenders stay in the race, however slow they are.
            until: the clock's time to stop at.
        """
        ready: dict[_C, Callable[[], float]] = {}
        enough = self.part_of(until, REPEATS + 1)  # to be ready takes about as long as to be measured once
        for i, contender in enumerate(contenders):
            if self._late(enough if i > standing else until):
                break
            measure = self._prepare(contender)
            if measure is not None:
                ready[contender] = measure
        found: dict[_C, Timed] = {}
        for _ in range(REPEATS):
            self._repeats += 1
            for contender, measure in list(ready.items()):
                last = found[contender].seconds.values() if contender in found else ()
                if self._late(until - max(last, default=0.0)):
                    return found
                seconds = measure()
                for timed in (found.setdefault(contender, Timed()), self.timed.setdefault(contender, Timed())):
                    timed.seconds[self._repeats] = seconds
            fastest = min((timed.median for timed in found.values()), default=0.0)
            for contender in list(ready)[standing:]:
                if found[contender].median > _HOPELESS * fastest:
                    del ready[contender]
        return found

    def _late(self, until: float) -> bool:
        late = self._clock() >= until
        self.complete = self.complete and not late
        return late
