"""What privacy costs: every setting against the same without privacy, as a table and in a sentence."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np

from fedpriv.runs.cost import Baseline, Cost, costs_of_privacy

from .numbers import bound, change, in_brackets, listed, metric, p_value
from .panels import NO_NOISE, NO_PRIVACY, Panel, Setting, thinned
from .tables import Table

_MOST_SAID = 6
_KINDS: Mapping[Baseline, str] = {"without privacy": NO_PRIVACY, "clipped, without noise": NO_NOISE}
"""Baselines, and what figures call them."""
_SURE = 0.05


def cost_table(panel: Panel) -> Table:
    """A row a setting."""
    costs = _costs(panel)
    kinds = [kind for kind in _KINDS if any(kind == known for _, known in costs)]
    several = len({setting.series for setting in panel.settings}) > 1
    against = [
        f"{what} {_KINDS[kind]}"
        for kind in kinds
        for what in ("difference from", "95 % interval, from", "p by Holm, from")
    ]
    columns = [*(["setting"] if several else []), "epsilon", "seeds", f"mean {panel.metric}", "95 % interval", *against]
    constants = any(run.baseline is not None for run in panel.runs)
    columns += ["over constant answer"] if constants else []
    rows = []
    for setting in panel.settings:
        row = [*([setting.series] if several else []), _budget(setting), str(setting.seeds)]
        row += [metric(setting.interval and setting.interval.mean), in_brackets(setting.interval)]
        for kind in kinds:
            row += _against(costs.get((setting.label, kind)))
        row += [change(_above_constant(setting))] if constants else []
        rows.append(row)
    return Table(
        key=f"cost_of_privacy{panel.key}",
        caption="The cost of privacy: mean differences over the seeds that two settings share, with a paired t test "
        "(two-sided; by Holm: p adjusted for all tests in this table, which intervals are not). Intervals speak of the "
        f"seeds that vary{_varied(panel)}, of nothing else. The baseline without privacy is the best at hand of the "
        "same problem: a choice made by looking, which makes privacy look a little dearer. Over constant answer: how "
        "much better than the best answer that looks at no input.",
        columns=columns,
        rows=rows,
        numbers=frozenset(columns) - {"setting"},
    )


@final
@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one panel comes to.

    Attributes:
        lead: one sentence.
        points: what each epsilon on the front reaches and costs, then what is reached without a guarantee.
        note: how sure that is.
    """

    lead: str
    points: tuple[str, ...]
    note: str


def answer(panel: Panel) -> Answer:
    """What each epsilon on the front reaches, and what it costs."""
    name = panel.metric.capitalize()
    measured = [setting for setting in panel.settings if setting.interval is not None]
    if not measured:
        return Answer(lead=f"{name} was not measured in these runs.", points=(), note="")
    private = thinned([s for s in measured if s.epsilon is not None and s.label in panel.front], _MOST_SAID)
    costs = _costs(panel)
    points = [f"{s.label}: {_mean(s)}{_price(s, costs, panel)}" for s in private]
    points += [f"{s.label}: {_mean(s)}" for s in panel.baselines]
    note = _sureness(measured)
    if not private:
        return Answer(lead="None of these runs has a guarantee.", points=tuple(points), note=note)
    priced = [s for s in private if _baseline(s, costs)]
    if not priced:
        lead = f"{name} by epsilon. What privacy costs is not known: none has a run without it that is like it."
        return Answer(lead=lead, points=tuple(points), note=note)
    least, most = priced[0], priced[-1]
    if least is most:
        lead = f"{name} is {_short(least)} at {least.label}{_lost(least, costs, panel)}."
    else:
        lead = (
            f"From {least.label} to {most.label}, {panel.metric} goes from {_short(least)} to {_short(most)}"
            f"{_lost(most, costs, panel)}."
        )
    tested = {s.label: cost for s in private if (cost := _baseline(s, costs)) is not None}
    return Answer(lead=lead, points=tuple(points), note=f"{note}{significance(tested)}")


def _baseline(setting: Setting, costs: "Mapping[tuple[str, str], Cost]") -> Cost | None:
    """What it is compared with first: without privacy, or else without noise."""
    found = (costs.get((setting.label, kind)) for kind in _KINDS)
    return next((cost for cost in found if cost is not None and cost.difference is not None), None)


def _price(setting: Setting, costs: "Mapping[tuple[str, str], Cost]", panel: Panel) -> str:
    cost = _baseline(setting, costs)
    if cost is None or cost.difference is None:
        return "; its cost is not known: no run without privacy is like it"
    what = "privacy costs" if _KINDS[cost.kind] == NO_PRIVACY else "noise costs"
    return f"; {what} {_worse(cost, panel)}"


def _lost(setting: Setting, costs: "Mapping[tuple[str, str], Cost]", panel: Panel) -> str:
    cost = _baseline(setting, costs)
    if cost is None or cost.difference is None:
        return ""
    than = "without privacy" if _KINDS[cost.kind] == NO_PRIVACY else "without noise"
    worse = _worse(cost, panel)
    return f", {worse.removeprefix('-')} {'better' if worse.startswith('-') else 'worse'} than {than}"


def _worse(cost: Cost, panel: Panel) -> str:
    """By how much it is worse than its baseline; negative where it is better."""
    mean = cost.difference.interval.mean if cost.difference else math.nan
    return f"{(-mean if panel.higher_is_better else mean):z.3f}"


def _short(setting: Setting) -> str:
    return f"{setting.interval.mean:.3f}" if setting.interval else "not measured"


def _costs(panel: Panel) -> Mapping[tuple[str, str], Cost]:
    """By the private setting's label and the kind of baseline."""
    labels = {id(setting.grouped): setting.label for setting in panel.settings}
    found = costs_of_privacy([setting.grouped for setting in panel.settings])
    return {(labels[id(cost.setting)], cost.kind): cost for cost in found}


def _against(cost: Cost | None) -> list[str]:
    if cost is None or cost.difference is None:
        return ["", "", ""]
    interval = cost.difference.interval
    return [change(interval.mean), in_brackets(interval), p_value(cost.p_holm)]


def significance(costs: Mapping[str, Cost]) -> str:
    """Which of these differences are more than luck of the seeds, as far as that was tested."""
    if all(cost.p_holm is None for cost in costs.values()):
        return ""
    sure = [label for label, cost in costs.items() if cost.p_holm is not None and cost.p_holm < _SURE]
    which = "each" if len(sure) == len(costs) else "none" if not sure else f"only at {listed(sure)}"
    return f" Significant cost: {which} (paired t test, p below {_SURE}, adjusted by Holm for all tests here)."


def _sureness(settings: list[Setting]) -> str:
    seeds = {setting.seeds for setting in settings}
    if max(seeds) == 1:
        return "There is one seed of each, so nothing says how sure that is."
    alone = "; settings with one seed have none" if 1 in seeds else ""
    several = sorted(seeds - {1})
    counted = f"{several[0]}" if len(several) == 1 else f"{several[0]} to {several[-1]}"
    return f"In brackets: 95 % intervals over {counted} seeds, each by itself{alone}."


def _mean(setting: Setting) -> str:
    interval = setting.interval
    if interval is None:
        return "not measured"
    if interval.low is None or interval.high is None:
        return f"{interval.mean:.3f}"
    return f"{interval.mean:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def _budget(setting: Setting) -> str:
    return setting.budget if setting.epsilon is None else bound(setting.epsilon, 5)


def _varied(panel: Panel) -> str:
    varied = dict.fromkeys(purpose for setting in panel.settings for purpose in setting.grouped.varied)
    return f" ({', '.join(varied)})" if varied else ""


def _above_constant(setting: Setting) -> float | None:
    """By how much it is better; negative where a constant answer is."""
    above = [run.value - run.baseline for run in setting.runs if run.value is not None and run.baseline is not None]
    sign = 1 if setting.runs[0].higher_is_better else -1
    return sign * float(np.mean(above)) if above else None
