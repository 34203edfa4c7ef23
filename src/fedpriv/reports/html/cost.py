"""What privacy costs: every setting against the same without privacy, as a table and in a sentence."""

from collections.abc import Mapping

import numpy as np

from fedpriv.runs.cost import Cost, costs_of_privacy

from .numbers import bound, change, in_brackets, listed, metric, p_value
from .panels import Panel, Setting, thinned
from .tables import Table

_MOST_SAID = 6
_KINDS = ("without privacy", "clipped, without noise")


def cost_table(panel: Panel) -> Table:
    """A row a setting."""
    costs = _costs(panel)
    kinds = [kind for kind in _KINDS if any(kind == known for _, known in costs)]
    several = len({setting.series for setting in panel.settings}) > 1
    against = [
        name.format(kind)
        for kind in kinds
        for name in ("against {}", "95 % interval (against {})", "p (against {})", "p by Holm (against {})")
    ]
    columns = [*(["setting"] if several else []), "epsilon", "seeds", f"mean {panel.metric}", "95 % interval", *against]
    constants = any(run.baseline is not None for run in panel.runs)
    columns += ["above the best constant answer"] if constants else []
    rows = []
    for setting in panel.settings:
        row = [*([setting.series] if several else []), _budget(setting), str(len(setting.runs))]
        row += [metric(setting.interval and setting.interval.mean), in_brackets(setting.interval)]
        for kind in kinds:
            row += _against(costs.get((setting.label, kind)))
        row += [change(_above_constant(setting))] if constants else []
        rows.append(row)
    return Table(
        key=f"cost_of_privacy{panel.key}",
        caption="The cost of privacy: mean differences over the seeds that two settings share, with a paired t test "
        "(two-sided; by Holm: adjusted for all tests in this table). Intervals speak of the seeds that vary, of "
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
    for kind in _KINDS:
        known = [cost.difference for s in private if (cost := costs.get((s.label, kind))) and cost.difference]
        if len(known) == len(private):
            lost = listed([f"{sign * difference.interval.mean:z.3f}" for difference in known])
            what = "privacy costs" if kind == _KINDS[0] else "noise alone costs"
            return f"{name} is {reached}; so {what} {lost}. {sure}"
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
        return ["", "", "", ""]
    difference = cost.difference
    return [
        change(difference.interval.mean),
        in_brackets(difference.interval),
        p_value(difference.p_value),
        p_value(cost.p_holm),
    ]


def _sureness(settings: list[Setting]) -> str:
    seeds = {len(setting.runs) for setting in settings}
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
