"""Two runs, settings or sweeps against each other: what differs between them, row by row."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

from .cost import difference
from .likeness import differences
from .runs import Runs
from .settings import Setting, flat, labels, settings, swept_keys
from .statistics import Difference, adjusted_p_values

_Row = tuple[Setting | None, Setting | None]


@final
@dataclass(frozen=True, kw_only=True)
class Pairing:
    """A setting of A and the one of B that it is compared with; either may be missing.

    Attributes:
        label: in what the rows differ; empty where there is one row.
        difference: B - A of the headline metric, over the seeds that both have.
        p_holm: its p-value, adjusted for the number of rows (Holm).
    """

    label: str
    a: Setting | None
    b: Setting | None
    difference: Difference | None
    p_holm: float | None


@final
@dataclass(frozen=True, kw_only=True)
class Versus:
    """What two sides have in common, and what not.

    Attributes:
        config: key -> values on either side, of the keys that differ between A and B.
        warnings: what keeps them from being compared as like.
    """

    a: Runs
    b: Runs
    config: Mapping[str, tuple[tuple[Any, ...], tuple[Any, ...]]]
    pairings: tuple[Pairing, ...]
    warnings: tuple[str, ...]


def versus(a: Runs, b: Runs) -> Versus:
    """Compare two sides, setting by setting.

    Two settings are paired whatever they differ in; those of sweeps where they agree in the keys that both sweep, or,
    if these do not tell the settings of a side apart, in every key that one of them sweeps.
    """
    swept = [swept_keys(side) for side in (a, b)]
    inner = list(dict.fromkeys((*swept[0], *swept[1])))
    common = [key for key in swept[0] if key in swept[1]]
    sides = [settings(side) for side in (a, b)]
    matched = common if all(_apart(side, common) for side in sides) else inner
    left, right = ({_at(setting, matched): setting for setting in side} for side in sides)
    rows = [(left.get(key), right.get(key)) for key in dict.fromkeys((*left, *right))]
    rows.sort(key=_by_epsilon)
    configs = [flat(_either(row).runs[0].config) for row in rows]
    alone, together = labels(configs, inner), labels(configs, matched)
    pairings = [
        Pairing(
            label="" if len(rows) == 1 else alone[n] if None in row else together[n],
            a=row[0],
            b=row[1],
            difference=_difference(*row),
            p_holm=None,
        )
        for n, row in enumerate(rows)
    ]
    adjusted = adjusted_p_values([pairing.difference for pairing in pairings])
    return Versus(
        a=a,
        b=b,
        config={
            key: (_values(a, key), _values(b, key))
            for key in swept_keys((*a, *b))
            if _values(a, key) != _values(b, key)
        },
        pairings=tuple(replace(p, p_holm=p_value) for p, p_value in zip(pairings, adjusted, strict=True)),
        warnings=tuple(differences((*a, *b))),
    )


def _at(setting: Setting, keys: Sequence[str]) -> str:
    config = flat(setting.runs[0].config)
    return json.dumps([config.get(key) for key in keys], default=str)


def _apart(side: Sequence[Setting], keys: Sequence[str]) -> bool:
    return len({_at(setting, keys) for setting in side}) == len(side)


def _either(row: _Row) -> Setting:
    setting = row[0] or row[1]
    if setting is None:
        raise ValueError("a row of neither side")
    return setting


def _by_epsilon(row: _Row) -> float:
    epsilon = _either(row).epsilon
    return math.inf if epsilon is None else epsilon


def _difference(a: Setting | None, b: Setting | None) -> Difference | None:
    if a is None or b is None or a.runs[0].headline != b.runs[0].headline:
        return None
    return difference(b, a, metric=a.runs[0].headline)


def _values(runs: Runs, key: str) -> tuple[Any, ...]:
    """What one side says to a key, each value once."""
    found = {json.dumps(value, default=str): value for value in (flat(run.config).get(key) for run in runs)}
    return tuple(found[name] for name in sorted(found))
