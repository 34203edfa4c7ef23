"""What privacy costs: every setting against the same without privacy, as a table and in a sentence."""

from collections.abc import Mapping

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
    columns += ["above the best constant answer"] if constants else []
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
        "(two-sided; by Holm: p adjusted for all tests in this table). Intervals speak of the seeds that vary, of "
        "nothing else.",
        columns=columns,
        rows=rows,
        numbers=frozenset(columns) - {"setting"},
    )


def sentence(panel: Panel) -> str:
    """The answer of one panel: what each epsilon on the front reaches, and what it costs."""
    name = panel.metric.capitalize()
    measured = [setting for setting in panel.settings if setting.interval is not None]
    if not measured:
        return f"{name} was not measured in these runs."
    private = thinned([s for s in measured if s.epsilon is not None and s.label in panel.front], _MOST_SAID)
    said = [*private, *panel.baselines]
    reached = listed([f"{_mean(s)} {'with' if s.epsilon is None else 'at'} {s.label}" for s in said])
    sure = _sureness(measured)
    if not private:
        return f"{name} is {reached}; none of these runs has a guarantee. {sure}"
    costs = _costs(panel)
    sign = -1 if panel.higher_is_better else 1
    for kind, without in _KINDS.items():
        known = {s.label: cost for s in private if (cost := costs.get((s.label, kind))) and cost.difference}
        if len(known) == len(private):
            means = [cost.difference.interval.mean for cost in known.values() if cost.difference]
            lost = listed([f"{sign * mean:z.3f}" for mean in means])
            what = "privacy costs" if without == NO_PRIVACY else "noise alone costs"
            return f"{name} is {reached}; so {what} {lost}{significance(known)}. {sure}"
    return (
        f"{name} is {reached}. {sure} What privacy costs is not known: not all have a run without it that is like them."
    )


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
    return f" (significant: {which}; paired t test, p below {_SURE}, adjusted for all tests here)"


def _sureness(settings: list[Setting]) -> str:
    seeds = {setting.seeds for setting in settings}
    if max(seeds) == 1:
        return "There is one seed of each, so nothing says how sure that is."
    return (
        f"In brackets: 95 % intervals over {min(seeds)} to {max(seeds)} seeds."
        if len(seeds) > 1
        else (f"In brackets: 95 % intervals over {max(seeds)} seeds.")
    )


def _mean(setting: Setting) -> str:
    interval = setting.interval
    if interval is None:
        return "not measured"
    if interval.low is None or interval.high is None:
        return f"{interval.mean:.3f}"
    return f"{interval.mean:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def _budget(setting: Setting) -> str:
    return setting.budget if setting.epsilon is None else bound(setting.epsilon, 5)


def _above_constant(setting: Setting) -> float | None:
    above = [run.value - run.baseline for run in setting.runs if run.value is not None and run.baseline is not None]
    return float(np.mean(above)) if above else None
