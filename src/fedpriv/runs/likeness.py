"""Which runs may stand on one curve: those that state, learn and are made of the same."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from fedpriv.accounting.printed import upwards

from .run import Run
from .settings import flat, in_words, seeds_of

# Packages on which numbers depend; others only read, write and draw.
_COMPUTING = ("python", "fedpriv", "torch", "numpy", "scipy", "scikit-learn", "flwr", "opacus", "dp-accounting")
_CLAIMED = ("unit", "relation", "delta")
_SAME_DELTA = 1.05  # n^-1.1 moves a little where the seed decides how many examples are trained

_WHY = {
    "unit": "one example and one client are not the same protection",
    "relation": "an epsilon under one neighbouring relation is none under another",
    "delta": "an epsilon at one delta is no epsilon at another",
    "trust model": "they hold against different observers",
    "accountant": "one bound may be looser than another for the same noise",
    "sampling": "cohorts or batches were drawn by different laws",
    "metric": "they are judged by different metrics",
    "data": "the data or its constants differ",
    "data content": "the same config and seed met other data",
    "code": "fedpriv's own source differs",
    "packages": "the versions of packages that compute differ",
    "own code": "the code of your own differs",
}


@final
@dataclass(frozen=True)
class Group:
    """Runs that may be compared.

    Runs that claim nothing state nothing unlike, so that a baseline is in every group that it was made like.

    Attributes:
        title: what their guarantees have in common, and what sets them apart from other groups.
    """

    title: str
    runs: tuple[Run, ...]


def differences(runs: Iterable[Run]) -> list[str]:
    """A warning for everything that is not alike: what, which values with how many runs, and why it matters."""
    facts = _facts(list(runs))
    return [
        f"{name} differs: {', '.join(f'{value} ({count})' for value, count in counts.items())}; {_WHY[name]}."
        for name, counts in _unlike(facts).items()
    ]


def comparable(runs: Iterable[Run]) -> list[Group]:
    """The runs in groups within which nothing differs that ``differences`` warns of, in the order of their first."""
    runs = list(runs)
    facts = _facts(runs)
    unlike = _unlike(facts)
    keys = [frozenset((name, fact[name]) for name in unlike if name in fact) for fact in facts]
    whole = [key for key in dict.fromkeys(keys) if not any(key < other for other in keys)]
    return [
        Group(
            title=_title(key, [fact for fact, own in zip(facts, keys, strict=True) if own <= key]),
            runs=tuple(run for run, own in zip(runs, keys, strict=True) if own <= key),
        )
        for key in whole
    ]


def _title(key: Iterable[tuple[str, str]], facts: Sequence[Mapping[str, str]]) -> str:
    found = {name: fact[name] for fact in facts for name in _CLAIMED if name in fact} | dict(key)
    said = [f"{name} {found[name]}" for name in _WHY if name in found]
    return ", ".join(said if "unit" in found else ["no guarantee", *said])


def _unlike(facts: Sequence[Mapping[str, str]]) -> dict[str, Counter[str]]:
    """Of each thing that differs, how many runs have which value."""
    counts = {name: Counter(fact[name] for fact in facts if name in fact) for name in _WHY}
    return {name: counted for name, counted in counts.items() if len(counted) > 1}


def _facts(runs: Sequence[Run]) -> list[dict[str, str]]:
    """What must be alike, a value in words; what a run does not state, or did not record, is left out."""
    deltas, contents = _deltas(runs), _contents(runs)
    data = _varying([_data(run) for run in runs])
    packages = _varying([{name: run.record.packages.get(name) for name in _COMPUTING} for run in runs])
    facts = []
    for n, run in enumerate(runs):
        fact = {
            "metric": f"{run.headline}, {'more' if run.higher_is_better else 'less'} is better",
            "data": data[n],
            "code": run.record.revision,
            "packages": packages[n],
        }
        if run in contents:
            fact["data content"] = contents[run]
        if "own_code" in run.record.extra:
            fact["own code"] = _digest(run.record.extra["own_code"])
        if run.guarantee is not None:
            fact |= _stated(run.guarantee) | {"delta": deltas[float(run.guarantee["delta"])]}
        facts.append(fact)
    return facts


def _stated(guarantee: Mapping[str, Any]) -> dict[str, str]:
    drawn, cohorts = guarantee["sampling"], guarantee["sampling_run"]["cohorts"]
    return {
        "unit": guarantee["unit"],
        "relation": guarantee["relation"],
        "trust model": guarantee["trust_model"],
        "accountant": f"{guarantee['accountant']} ({guarantee['accountant_version']})",
        "sampling": f"{drawn['kind']} of {drawn['of']}"
        + (f", cohorts {cohorts['kind']}" if drawn["of"].startswith("examples") else ""),
    }


def _deltas(runs: Sequence[Run]) -> dict[float, str]:
    """Each delta with the name of those that count as the same: the largest within 5 % of the smallest."""
    clusters = list[list[float]]()
    for delta in sorted({float(run.guarantee["delta"]) for run in runs if run.guarantee is not None}):
        if clusters and delta <= clusters[-1][0] * _SAME_DELTA:
            clusters[-1].append(delta)
        else:
            clusters.append([delta])
    return {delta: upwards(cluster[-1], 3) for cluster in clusters for delta in cluster}


def _data(run: Run) -> dict[str, Any]:
    """The block ``data``; where a fingerprint tells more, the folder that it lies in does not matter."""
    elsewhere = {"data.root"} if _fingerprint(run) else set[str]()
    return {key: value for key, value in flat(run.config).items() if key.split(".")[0] == "data"} | dict.fromkeys(
        elsewhere
    )


def _contents(runs: Sequence[Run]) -> dict[Run, str]:
    """Of runs that should have met the same data and division, but did not: which they met, in the order of runs.

    Of each data seed by itself, so that all seeds of one state of the data are the same version.
    """
    met: dict[str, list[Run]] = {}
    for run in runs:
        if _fingerprint(run):
            division = {key: run.config.get(key) for key in ("partition", "split")}
            met.setdefault(json.dumps([_data(run), division, seeds_of(run)[0]], default=str), []).append(run)
    found: dict[Run, str] = {}
    for group in met.values():
        versions = list(dict.fromkeys(_fingerprint(run) for run in group))
        if len(versions) > 1:
            found |= {run: f"version {versions.index(_fingerprint(run)) + 1}" for run in group}
    return found


def _fingerprint(run: Run) -> str:
    return str(run.record.extra.get("data", {}).get("fingerprint", ""))


def _varying(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of each mapping, in words, only what is not the same in all."""
    names = sorted({name for one in found for name in one})
    varying = [name for name in names if len({json.dumps(one.get(name), default=str) for one in found}) > 1]
    return [", ".join(f"{name} {in_words(one.get(name))}" for name in varying) for one in found]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12] if value else "none"
