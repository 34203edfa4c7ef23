"""What is measured of each setting by name, side by side: one point a series and setting, with its interval."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import altair as alt

from fedpriv.runs import Run
from fedpriv.runs.settings import Seeds, averaged, coarsest, seeds_of
from fedpriv.runs.statistics import Interval, mean_interval

from .numbers import in_brackets, possible
from .panels import Panel, Setting

MOST_SETTINGS = 12

Measure = Callable[[Run], float | None]
"""A number of a run; None: not measured."""


def shown(panel: Panel) -> Sequence[Setting]:
    """The settings that are told of."""
    return panel.foremost(MOST_SETTINGS)


def interval_of(setting: Setting, measure: Measure) -> Interval | None:
    """Over what is independent, as for the headline metric; None: no run was measured."""
    values = by_seed(setting, measure)
    return mean_interval(list(averaged(values.items(), by=coarsest(values)).values())) if values else None


def by_seed(setting: Setting, measure: Measure) -> dict[Seeds, float]:
    """What was measured of each of its runs, by their seeds."""
    return {seeds_of(run): value for run in setting.runs if (value := measure(run)) is not None}


def intervals(panel: Panel, measure: Measure) -> list[tuple[Setting, Interval]]:
    """Of the settings that are told of and were measured."""
    found = ((setting, interval_of(setting, measure)) for setting in shown(panel))
    return [(setting, interval) for setting, interval in found if interval is not None]


def cell(setting: Setting, measure: Measure) -> str:
    """Mean and interval in a table; nothing where not measured."""
    interval = interval_of(setting, measure)
    if interval is None:
        return ""
    inside = in_brackets(interval)
    return f"{interval.mean:.3f} ({inside})" if inside else f"{interval.mean:.3f}"


def row(setting: Setting, series: str, interval: Interval, *, metric: str) -> dict[str, Any]:
    """A point of ``chart``; ``metric`` says how far its interval may go."""
    return {
        "setting": setting.label,
        "series": series,
        "mean": interval.mean,
        "low": possible(interval.low, metric=metric),
        "high": possible(interval.high, metric=metric),
        "interval": in_brackets(interval) or "one seed: none",
        "seeds": interval.n,
    }


def chart(panel: Panel, rows: Sequence[Mapping[str, Any]], *, title: str, each: str) -> alt.LayerChart | None:
    """Points side by side by series, the settings in the panel's order; None: there are no rows.

    Args:
        title: of the vertical axis.
        each: what a series is.
    """
    if not rows:
        return None
    series = list(dict.fromkeys(row["series"] for row in rows))
    toggled = alt.selection_point(name=f"shown{panel.key}", fields=["series"], bind="legend", toggle="true")

    def layer(values: Sequence[Mapping[str, Any]]) -> alt.Chart:
        return alt.Chart(alt.InlineData(values=list(values))).encode(
            x=setting_axis(panel),
            xOffset=alt.XOffset("series:N", sort=series),
            color=alt.Color("series:N", sort=series, title=None, scale=alt.Scale(domain=series)),
            opacity=alt.condition(toggled, alt.value(1), alt.value(0.08)),
        )

    points = layer(rows).mark_point(filled=True, size=70)
    points = points.encode(y=alt.Y("mean:Q", title=title), tooltip=list(_tooltips(title, each)))
    known = [row for row in rows if row["low"] is not None]
    bars = layer(known).mark_errorbar(ticks={"width": 6}, thickness=1.4)
    bars = bars.encode(y=alt.Y("low:Q", title=title), y2="high:Q")
    return alt.layer(*([bars] if known else []), points.add_params(toggled))


def setting_axis(panel: Panel) -> alt.X:
    """The settings side by side, in the panel's order."""
    order = [setting.label for setting in shown(panel)]
    axis = alt.Axis(labelAngle=-30, labelLimit=150, grid=False)
    return alt.X("setting:N", sort=order, title=None, axis=axis)


def _tooltips(title: str, each: str) -> Iterator[alt.Tooltip]:
    yield alt.Tooltip("setting:N", title="setting")
    yield alt.Tooltip("series:N", title=each)
    yield alt.Tooltip("mean:Q", title=title, format=".4f")
    yield alt.Tooltip("interval:N", title="95 % interval")
    yield alt.Tooltip("seeds:Q", title="seeds")
