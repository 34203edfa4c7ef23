"""What privacy costs: every private setting against the same without, seed by seed."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, final

from .settings import SOLVED_BY, Seeds, Setting, averaged, coarsest, flat, without_noise, without_privacy
from .statistics import Difference, adjusted_p_values, mean_interval, paired_difference

Baseline = Literal["without privacy", "clipped, without noise"]
# The keys in which a private setting may differ from its baseline: what is tuned need not be best for both.
_DIFFER: Mapping[Baseline, tuple[str, ...]] = {
    "without privacy": SOLVED_BY,
    "clipped, without noise": (
        "privacy.epsilon",
        "privacy.noise_multiplier",
        "privacy.delta",
        "privacy.accept_weak_delta",
    ),
}


@final
@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a private setting loses, or wins, in the headline metric.

    Attributes:
        difference: setting minus baseline over the seeds that both have; None: they share none.
        p_holm: its p-value, adjusted for all tests that were made beside it (Holm).
    """

    setting: Setting
    baseline: Setting
    kind: Baseline
    difference: Difference | None
    p_holm: float | None


def costs_of_privacy(settings: Sequence[Setting]) -> list[Cost]:
    """Every setting that claims something against those that are the same but for privacy.

    ``without privacy`` is the best ``privacy=none`` at hand of the same problem: what is tuned, the groups ``training``
    and ``strategy``, may differ, for a rate that suits noisy steps may be a bad one without noise. ``clipped, without
    noise`` is ``privacy.epsilon=inf`` or ``privacy.noise_multiplier=0`` with all else equal, which tells what clipping
    and sampling cost by themselves.
    """
    baselines: dict[tuple[Baseline, str], list[Setting]] = {}
    for setting in settings:
        if (kind := _kind(setting)) is not None:
            baselines.setdefault((kind, _but_for(kind, setting)), []).append(setting)
    best = {key: max(found, key=_utility) for key, found in baselines.items()}
    costs = [
        Cost(
            setting=setting,
            baseline=baseline,
            kind=kind,
            difference=difference(setting, baseline, metric=setting.runs[0].headline),
            p_holm=None,
        )
        for setting in settings
        if setting.epsilon is not None
        for kind in _DIFFER
        if (baseline := best.get((kind, _but_for(kind, setting)))) is not None
    ]
    adjusted = adjusted_p_values([cost.difference for cost in costs])
    return [replace(cost, p_holm=p_value) for cost, p_value in zip(costs, adjusted, strict=True)]


def difference(a: Setting, b: Setting, *, metric: str) -> Difference | None:
    """a - b of a metric, paired over seeds; what has no noise is the partner of every noise seed."""
    return seed_by_seed(a.measured(metric), b.measured(metric))


def seed_by_seed(a: Mapping[Seeds, float], b: Mapping[Seeds, float]) -> Difference | None:
    """a - b, paired as by ``difference``; None where they share no seeds."""
    left, right = _paired(a, b)
    by = coarsest(pair[0] for pair in left)
    return paired_difference(
        *(averaged(((pair[0], value) for pair, value in side.items()), by=by) for side in (left, right))
    )


def _paired(left: Mapping[Seeds, float], right: Mapping[Seeds, float]) -> tuple[dict[Any, float], dict[Any, float]]:
    """Both by the pairs of seeds that go together."""
    shared = {(mine, theirs) for mine in left for theirs in right if _alike(mine, theirs)}
    return {pair: left[pair[0]] for pair in shared}, {pair: right[pair[1]] for pair in shared}


def floor(settings: Iterable[Setting]) -> float | None:
    """The mean headline metric of the best constant answer: who is no better has learned nothing."""
    found = [run.baseline for setting in settings for run in setting.runs if run.baseline is not None]
    return mean_interval(found).mean if found else None


def _alike(mine: Seeds, theirs: Seeds) -> bool:
    return mine[:-1] == theirs[:-1] and (mine[-1] == theirs[-1] or None in (mine[-1], theirs[-1]))


def _kind(setting: Setting) -> Baseline | None:
    run = setting.runs[0]
    if setting.epsilon is not None or not without_noise(run):
        return None
    return "without privacy" if without_privacy(run) else "clipped, without noise"


def _utility(setting: Setting) -> float:
    if (interval := setting.interval) is None:
        return -math.inf
    return interval.mean if setting.runs[0].higher_is_better else -interval.mean


def _but_for(kind: Baseline, setting: Setting) -> str:
    """All else that must be equal."""
    config = flat(setting.runs[0].config).items()
    return json.dumps(
        {key: value for key, value in config if not key.startswith(_DIFFER[kind])}, sort_keys=True, default=str
    )
