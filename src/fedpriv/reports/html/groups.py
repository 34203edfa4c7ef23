"""Who pays: how sensitive groups of the test set fare at each setting, and how far apart they are."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import altair as alt

from fedpriv.runs import Run
from fedpriv.runs.settings import averaged, coarsest, seeds_of
from fedpriv.runs.statistics import Interval, mean_interval

from .numbers import in_brackets, possible
from .panels import Panel, Setting
from .tables import Table

MOST_GROUPS = 8
"""Groups that a figure has a colour for."""
_MOST_SETTINGS = 12
_GAPS = {
    "demographic parity": "demographic_parity_difference",
    "equalised odds": "equalized_odds_difference",
    "equal opportunity": "equal_opportunity_difference",
}

Measure = Callable[[Run], float | None]


def group_gaps(panel: Panel) -> alt.LayerChart | None:
    """Demographic parity and equalised odds difference of each sensitive attribute at each setting."""
    rows = [
        _row(setting, f"{attribute}: {name.split()[-1]}", interval, metric="accuracy")  # short, for phones
        for attribute in _attributes(panel)
        for name, key in list(_GAPS.items())[:2]
        for setting, interval in _intervals(panel, _gap(attribute, key))
    ]
    return _chart(panel, rows, title="difference between groups")


def group_accuracy(panel: Panel) -> alt.LayerChart | None:
    """Test accuracy of the groups at each setting; of more than have a colour, those that settings differ in most."""
    found = {
        f"{attribute}: {name}": _intervals(panel, _accuracy(attribute, name))
        for attribute in _attributes(panel)
        for name in _names(panel, attribute)
    }

    def range_of(series: str) -> float:
        means = [interval.mean for _, interval in found[series]]
        return max(means) - min(means)

    widest = sorted((series for series in found if found[series]), key=range_of, reverse=True)[:MOST_GROUPS]
    rows = [
        _row(setting, series, interval, metric="accuracy")
        for series in found
        if series in widest
        for setting, interval in found[series]
    ]
    return _chart(panel, rows, title="test accuracy of the group")


def group_table(panel: Panel) -> Table:
    """The differences of every attribute at every setting, and its groups of lowest and highest accuracy."""
    rows = [
        [setting.label, attribute, *(_cell(setting, _gap(attribute, key)) for key in _GAPS.values()), *worst_and_best]
        for attribute in _attributes(panel)
        for setting in shown(panel)
        if any(worst_and_best := _ends(panel, setting, attribute))
    ]
    columns = ["setting", "attribute", *_GAPS, "lowest accuracy", "highest accuracy"]
    return Table(
        key=f"groups{panel.key}",
        caption="Sensitive groups of the test set: largest difference between groups (fairlearn), and the groups of "
        "lowest and highest accuracy with their number of test examples; means over seeds, 95 % intervals in brackets. "
        "Groups of few examples make differences large by chance.",
        columns=columns,
        rows=rows,
        numbers=frozenset(columns[2:5]),
    )


def shown(panel: Panel) -> Sequence[Setting]:
    """The settings that are told of."""
    return panel.foremost(_MOST_SETTINGS)


def too_many(panel: Panel) -> bool:
    """Whether there are more groups than colours."""
    return sum(len(_names(panel, attribute)) for attribute in _attributes(panel)) > MOST_GROUPS


def _entries(run: Run) -> Mapping[str, Mapping[str, Any]]:
    found = run.record.extra.get("fairness")
    return found if isinstance(found, dict) else {}


def _attributes(panel: Panel) -> list[str]:
    return list(dict.fromkeys(attribute for run in panel.runs for attribute in _entries(run)))


def _names(panel: Panel, attribute: str) -> list[str]:
    return list(dict.fromkeys(name for run in panel.runs for name in _by_group(run, attribute)))


def _by_group(run: Run, attribute: str) -> Mapping[str, float | None]:
    return _entries(run).get(attribute, {}).get("accuracy_by_group") or {}


def _gap(attribute: str, key: str) -> Measure:
    return lambda run: _entries(run).get(attribute, {}).get(key)


def _accuracy(attribute: str, name: str) -> Measure:
    return lambda run: _by_group(run, attribute).get(name)


def _interval(setting: Setting, measure: Measure) -> Interval | None:
    """Over what is independent, as for the headline metric."""
    values = {seeds_of(run): value for run in setting.runs if (value := measure(run)) is not None}
    return mean_interval(list(averaged(values.items(), by=coarsest(values)).values())) if values else None


def _intervals(panel: Panel, measure: Measure) -> list[tuple[Setting, Interval]]:
    found = ((setting, _interval(setting, measure)) for setting in shown(panel))
    return [(setting, interval) for setting, interval in found if interval is not None]


def _cell(setting: Setting, measure: Measure) -> str:
    interval = _interval(setting, measure)
    if interval is None:
        return ""
    inside = in_brackets(interval)
    return f"{interval.mean:.3f} ({inside})" if inside else f"{interval.mean:.3f}"


def _ends(panel: Panel, setting: Setting, attribute: str) -> list[str]:
    """The groups of lowest and of highest accuracy in words; empty where none was measured."""
    measured = {name: _interval(setting, _accuracy(attribute, name)) for name in _names(panel, attribute)}
    means = {name: interval.mean for name, interval in measured.items() if interval is not None}
    if not means:
        return ["", ""]
    counts = _entries(setting.runs[0]).get(attribute, {}).get("test_examples_by_group", {})
    ends = (min(means, key=means.__getitem__), max(means, key=means.__getitem__))
    return [f"{name} {means[name]:.3f} (n = {counts.get(name, '?')})" for name in ends]


def _row(setting: Setting, series: str, interval: Interval, *, metric: str) -> dict[str, Any]:
    return {
        "setting": setting.label,
        "series": series,
        "mean": interval.mean,
        "low": possible(interval.low, metric=metric),
        "high": possible(interval.high, metric=metric),
        "interval": in_brackets(interval) or "one seed: none",
        "seeds": interval.n,
    }


def _chart(panel: Panel, rows: Sequence[Mapping[str, Any]], *, title: str) -> alt.LayerChart | None:
    """One point a series and setting, side by side by series, the settings in the panel's order."""
    if not rows:
        return None
    order = [setting.label for setting in shown(panel)]
    series = list(dict.fromkeys(row["series"] for row in rows))
    toggled = alt.selection_point(name=f"shown{panel.key}", fields=["series"], bind="legend", toggle="true")

    def layer(values: Sequence[Mapping[str, Any]]) -> alt.Chart:
        return alt.Chart(alt.InlineData(values=list(values))).encode(
            x=alt.X("setting:N", sort=order, title=None, axis=alt.Axis(labelAngle=-30, labelLimit=150, grid=False)),
            xOffset=alt.XOffset("series:N", sort=series),
            color=alt.Color("series:N", sort=series, title=None, scale=alt.Scale(domain=series)),
            opacity=alt.condition(toggled, alt.value(1), alt.value(0.08)),
        )

    points = layer(rows).mark_point(filled=True, size=70)
    points = points.encode(y=alt.Y("mean:Q", title=title), tooltip=list(_tooltips(title)))
    known = [row for row in rows if row["low"] is not None]
    bars = layer(known).mark_errorbar(ticks={"width": 6}, thickness=1.4)
    bars = bars.encode(y=alt.Y("low:Q", title=title), y2="high:Q")
    return alt.layer(*([bars] if known else []), points.add_params(toggled))


def _tooltips(title: str) -> Iterator[alt.Tooltip]:
    yield alt.Tooltip("setting:N", title="setting")
    yield alt.Tooltip("series:N", title="group")
    yield alt.Tooltip("mean:Q", title=title, format=".4f")
    yield alt.Tooltip("interval:N", title="95 % interval")
    yield alt.Tooltip("seeds:Q", title="seeds")
