"""The files of a run and of its replay: where they differ first, but for what tells of clocks and processes."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from fedpriv.errors import FedprivError
from fedpriv.records.checkpoint import load_checkpoint
from fedpriv.records.run_folder import RunFolder
from fedpriv.replays.content import ABSENT, content_of_table, content_of_tensors, first_cell, first_entry
from fedpriv.replays.decisions import decisions, was_interrupted

# All that is not compared. Nothing else of a run tells of a clock or of processes; attacks change nothing in it.
LEFT_OUT: Mapping[str, tuple[str, ...]] = {
    "run.json": (
        "seconds",
        "execution.rounds_trained",
        "execution.resumed_from",
        "execution.worker_pids",
        "execution.attempts",
        "attacks",
    ),
    "rounds.parquet": ("seconds", "seconds_testing"),
    "checkpoint": ("seconds", "environment"),
}
LEFT_OUT_IF_INTERRUPTED: Mapping[str, tuple[str, ...]] = {
    "run.json": ("audit.head", "audit.count"),
    "audit.jsonl": ("starts and interruptions", "decisions of rounds that were trained again", "index, prev and hash"),
}
BOOKKEEPING = (".lock", ".rounds_trained")
"""Files that hold no result."""

# What a run was made with. A difference here is told where results do not differ.
_PROVENANCE = ("packages", "revision")
_PROVENANCE_LINES = tuple(f"| {name} |" for name in _PROVENANCE)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Where a file of the replay first differs from the run's."""

    file: str
    place: str
    """Such as ``round 2, column test_loss``."""
    was: Any
    now: Any
    provenance: bool
    """Whether it is about packages or revision, and everything else in the file came out the same."""

    def __str__(self) -> str:
        return f"{self.file}: {self.place} was {_short(self.was)}, is {_short(self.now)}"


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One file, and where it differs first; None: it came out the same."""

    file: str
    difference: Difference | None


def compare(run: RunFolder, replayed: RunFolder) -> Iterator[Compared]:
    """Every file that a run leaves, most telling first: a file that differs may make later ones differ.

    The run's checkpoint may have been removed; it is no longer needed.
    """
    for then, now, look in (
        (run.config, replayed.config, _lines),
        (run.rounds, replayed.rounds, _table),
        (run.clients, replayed.clients, _table),
        (run.model, replayed.model, _tensors),
        (run.ledger, replayed.ledger, _log),
        (run.audit, replayed.audit, _decisions),
        (run.guarantee_json, replayed.guarantee_json, _json),
        (run.guarantee_md, replayed.guarantee_md, _lines),
        (run.run_json, replayed.run_json, _json),
        (run.checkpoint, replayed.checkpoint, _checkpoint),
    ):
        if then.exists() and now.exists():
            yield Compared(file=then.name, difference=_read_and(look, then, now))
        elif now.exists() and then != run.checkpoint:
            yield Compared(file=then.name, difference=_whole_file(then, "missing", "written"))
        elif then.exists():
            yield Compared(file=then.name, difference=_whole_file(then, "there", "not written"))


def _read_and(look: Any, then: Path, now: Path) -> Difference | None:
    try:
        difference: Difference | None = look(then, now)
    except (FedprivError, OSError, ValueError) as error:  # in the run's own file, which anyone may have changed
        return _whole_file(then, f"unreadable ({' '.join(str(error).split())})", "written")
    return difference


def _whole_file(path: Path, was: str, now: str) -> Difference:
    return Difference(file=path.name, place="the file", was=was, now=now, provenance=False)


# -- kinds of files ----------------------------------------------------------------------------------------


def _lines(then: Path, now: Path) -> Difference | None:
    texts = (path.read_text(encoding="utf-8").splitlines() for path in (then, now))
    numbered = ({f"line {n}": line for n, line in enumerate(text, start=1)} for text in texts)
    return _first(then.name, *numbered)


def _json(then: Path, now: Path) -> Difference | None:
    interrupted = then.name == "run.json" and was_interrupted(then.parent / "audit.jsonl")
    values = (dict(_flat(json.loads(path.read_bytes()))) for path in (then, now))
    return _first(then.name, *values, interrupted=interrupted)


def _log(then: Path, now: Path) -> Difference | None:
    with then.open("rb") as before, now.open("rb") as after:
        for number, (left, right) in enumerate(zip_longest(before, after), start=1):
            if left != right:
                return _first(then.name, _entry(number, left), _entry(number, right)) or _other_bytes(then, number)
    return None


def _entry(number: int, line: bytes | None) -> dict[str, Any]:
    if line is None:
        return {f"line {number}": ABSENT}
    values = {place: value for place, value in _flat(json.loads(line)) if place not in ("hash", "index", "prev")}
    return {f"line {number}, {place}": value for place, value in values.items()} | {f"line {number}": "there"}


def _other_bytes(path: Path, number: int) -> Difference:
    return Difference(file=path.name, place=f"line {number}", was="of other bytes", now="written", provenance=False)


def _decisions(then: Path, now: Path) -> Difference | None:
    if not was_interrupted(then):
        return _log(then, now)
    numbered = (
        {f"decision {n}, {place}": v for n, line in enumerate(decisions(path), start=1) for place, v in _flat(line)}
        for path in (then, now)
    )
    return _first(then.name, *numbered)


def _table(then: Path, now: Path) -> Difference | None:
    found = first_cell(*(content_of_table(path, without=LEFT_OUT.get(then.name, ())) for path in (then, now)))
    return None if found is None else Difference(file=then.name, **found, provenance=False)


def _tensors(then: Path, now: Path) -> Difference | None:
    if then.read_bytes() == now.read_bytes():
        return None
    found = first_entry(content_of_tensors(then), content_of_tensors(now))
    return _whole_file(then, "of other bytes", "written") if found is None else Difference(
        file=then.name, **found, provenance=False
    )


def _checkpoint(then: Path, now: Path) -> Difference | None:
    before, after = load_checkpoint(then), load_checkpoint(now)
    if before is None or after is None:
        return None if before is after else _whole_file(then, "missing", "written")
    found = first_entry(before.tensors, after.tensors)
    if found is not None:
        return Difference(file=then.name, **found, provenance=False)
    return _first(then.name, dict(_flat(before.state)), dict(_flat(after.state)))


# -- values ------------------------------------------------------------------------------------------------


def _first(
    file: str, then: Mapping[str, Any], now: Mapping[str, Any], *, interrupted: bool = False
) -> Difference | None:
    """The first place with unlike values; of provenance, where there is no other."""
    skipped = (*LEFT_OUT.get(file, ()), *(LEFT_OUT_IF_INTERRUPTED.get(file, ()) if interrupted else ()))
    places = [place for place in dict.fromkeys([*then, *now]) if not _below(place, skipped)]
    told = [(place, then.get(place, ABSENT), now.get(place, ABSENT)) for place in places]
    unlike = [
        Difference(file=file, place=place, was=was, now=is_now, provenance=_is_provenance(place, was))
        for place, was, is_now in told
        if repr(was) != repr(is_now)  # tells 1 from 1.0 and from True, and NaN is NaN
    ]
    return min(unlike, key=lambda difference: difference.provenance, default=None)


def _is_provenance(place: str, value: Any) -> bool:
    return _below(place, _PROVENANCE) or str(value).startswith(_PROVENANCE_LINES)


def _below(place: str, names: tuple[str, ...]) -> bool:
    return any(place == name or place.startswith(f"{name}.") for name in names)


def _flat(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted place and value of everything that is neither a filled list nor a filled mapping."""
    if isinstance(value, Mapping) and value:
        for key, part in value.items():
            yield from _flat(part, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list) and value:
        for number, part in enumerate(value):
            yield from _flat(part, f"{place}.{number}" if place else str(number))
    else:
        yield place, value


def _short(value: Any) -> str:
    told = value if isinstance(value, str) else repr(value)
    return told if len(told) <= 100 else f"{told[:100]}..."
