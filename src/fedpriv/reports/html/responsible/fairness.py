"""Who pays: the group that fares worst, the one that loses most, and how far groups are apart."""

from collections.abc import Iterator

from fedpriv.runs import Run

from ..attack_results import number
from ..groups import GAPS, accuracy, attributes, gap, names
from .attacks import found_most
from .course import Course, at
from .movement import Movement, movement
from .point import Point

_FEW = 30
"""Test examples of a group below which its accuracy says little."""


def fairness_points(course: Course) -> Iterator[Point]:
    """Statements, each computed from the runs of the course."""
    for attribute in attributes(course.runs):
        yield from _worst(course, attribute)
        for title, key in list(GAPS.items())[:2]:
            if found := movement(course, gap(attribute, key), metric="accuracy"):
                yield Point(f"Difference in {title} by {attribute}:", f"{found.said()}. 0 is no difference.")
        if few := _few(course, attribute):
            yield Point(f"Few by {attribute}:", f"{few}. What is said of so few says little.")
    yield from found_most(course)


def _worst(course: Course, attribute: str) -> Iterator[Point]:
    moves = {
        name: found
        for name in names(course.runs, attribute)
        if (found := movement(course, accuracy(attribute, name), metric="accuracy"))
    }
    if not moves:
        return
    worst, best = (pick(moves, key=lambda name: moves[name].end.mean) for pick in (min, max))
    yield Point(
        f"Worst off by {attribute} {at(moves[worst].most)}:",
        f"“{worst}”, test accuracy {moves[worst].said()}. Best off: “{best}”, {moves[best].end.mean:.3f}.",
    )
    changes = {name: found.change.interval.mean for name, found in moves.items() if found.change}
    if len(changes) > 1 and min(changes.values()) < 0:
        most, least = min(changes, key=changes.__getitem__), max(changes, key=changes.__getitem__)
        yield Point(
            f"Pays most by {attribute}:",
            f"“{most}”, test accuracy {_lost(moves[most])}; least: “{least}”, {_lost(moves[least])}.",
        )


def _lost(found: Movement) -> str:
    assert found.change is not None
    sure = {True: ", more than seeds explain", False: ", no more than seeds differ by", None: ""}[found.moved]
    return f"{found.change.interval.mean:+.3f}{sure}"


def _few(course: Course, attribute: str) -> str:
    fewest: dict[str, float] = {}
    for run in course.runs:
        for name, count in _counts(run, attribute).items():
            fewest[name] = min(fewest.get(name, count), count)
    return ", ".join(f"“{name}” has {count:.0f} test examples" for name, count in fewest.items() if count < _FEW)


def _counts(run: Run, attribute: str) -> dict[str, float]:
    found = (run.record.extra.get("fairness") or {}).get(attribute, {}).get("test_examples_by_group") or {}
    return {name: known for name, count in found.items() if (known := number(count)) is not None}
