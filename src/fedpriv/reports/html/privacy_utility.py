"""The privacy-utility curve: what each epsilon reaches, with intervals over seeds, seeds and the Pareto front."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import altair as alt

from .epsilon_axis import EpsilonAxis
from .numbers import in_brackets, possible
from .panels import Panel, Setting, said
from .scales import ordinary, value_scale, within

MOST_SERIES = 8
"""Series with a colour of their own in one figure."""
OTHERS = "others"


def privacy_utility(panel: Panel) -> alt.LayerChart | None:
    """Mean of the headline metric over seeds against epsilon, 95 % intervals; None where nothing was measured.

    Runs without a guarantee have no epsilon: they stand apart, at a place of their own.
    """
    settings = [setting for setting in panel.settings if setting.interval is not None and not outside(panel, setting)]
    if not settings:
        return None
    axis = EpsilonAxis(settings)
    means = [_mean(panel, setting, axis) for setting in settings]
    fits = _fits(panel)
    seeds = [row for setting in settings for row in _seeds(panel, setting, axis) if fits(row["value"])]
    named = _named(panel, settings)
    for row in (*means, *seeds):
        row["series"] = row["series"] if row["series"] in named else OTHERS
    toggled = alt.selection_point(name=f"shown{panel.key}", fields=["series"], bind="legend", toggle="true")
    x = axis.channel
    scale = _scale(means, seeds, panel.headline)
    for row in means:
        row |= {key: within(row[key], scale) for key in ("low", "high")}
    y = alt.Y("mean:Q", title=panel.metric, scale=scale)
    # One series is said by the heading; more are named, and a click on a name singles it out.
    found = {row["series"] for row in means}
    domain = [*(series for series in named if series in found), *({OTHERS} & found)]
    hue = alt.Color(
        "series:N", title=None, scale=alt.Scale(domain=domain), legend=alt.Legend() if len(domain) > 1 else None
    )
    clear = alt.condition(toggled, alt.value(1), alt.value(0.08))

    def layer(rows: Sequence[Mapping[str, Any]]) -> alt.Chart:
        return alt.Chart(alt.InlineData(values=list(rows))).encode(x=x, y=y, color=hue, opacity=clear)

    told = [alt.Tooltip(field, title=title, format=form) for field, title, form in _tooltip(panel)]
    private = [row for row in means if row["private"]]
    apart = [row for row in means if not row["private"]]
    known = [row for row in means if row["low"] is not None and row["series"] != OTHERS]
    compared = [row for row in apart if row["setting"] in {setting.label for setting in panel.baselines}]
    points = {  # hollow: another setting has no more epsilon and does better
        "dominated": layer([row for row in private if row["front"] == "no"]).mark_point(size=90, strokeWidth=2),
        "apart": layer(apart).mark_point(size=100, filled=True, shape="diamond"),
        "front": layer([row for row in private if row["front"] == "yes"]).mark_point(size=110, filled=True),
    }
    layers = [
        *(_no_guarantee(compared, y, axis) if apart else []),
        layer([row for row in private if row["series"] != OTHERS]).mark_line(strokeWidth=2).encode(order="place:Q"),
        layer(seeds)
        .mark_circle(size=36)
        .encode(
            y=alt.Y("value:Q"),
            opacity=alt.condition(toggled, alt.value(0.35), alt.value(0.04)),
            tooltip=[
                alt.Tooltip("setting:N", title="setting"),
                alt.Tooltip("seed:N", title="seed"),
                alt.Tooltip("value:Q", title=panel.metric, format=".4f"),
                alt.Tooltip("told:N", title="epsilon"),
                alt.Tooltip("run:N", title="run"),
            ],
        ),
        layer(known)
        .mark_errorbar(ticks={"width": 9}, thickness=1.6)
        .encode(y=alt.Y("low:Q", title=panel.metric), y2="high:Q"),
        *(layer.encode(tooltip=told) for layer in points.values()),
    ]
    drawn = [layer for layer in layers if layer.data.values]
    drawn[-1] = drawn[-1].add_params(toggled)
    return alt.layer(*drawn)


def outside(panel: Panel, setting: Setting) -> bool:
    """Whether its mean is so far off that the figure leaves it out: training diverged."""
    return setting.interval is not None and not _fits(panel)(setting.interval.mean)


def _fits(panel: Panel) -> Callable[[float], bool]:
    return ordinary(run.value for run in panel.runs if run.value is not None)


def _named(panel: Panel, settings: Sequence[Setting]) -> list[str]:
    """The series that have a colour: all, or those that hold the best settings, where there are too many."""
    series = list(dict.fromkeys(setting.series for setting in settings))
    if len(series) <= MOST_SERIES:
        return series
    best = dict.fromkeys(setting.series for setting in panel.best_first(settings))
    return [name for name in series if name in list(best)[: MOST_SERIES - 1]]


def _tooltip(panel: Panel) -> list[tuple[str, str, Any]]:
    """Field, title and format."""
    return [
        ("setting:N", "setting", alt.Undefined),
        ("told:N", "epsilon", alt.Undefined),
        ("mean:Q", f"mean {panel.metric}", ".4f"),
        ("interval:N", "95 % interval", alt.Undefined),
        ("seeds:Q", "seeds", alt.Undefined),
        ("front:N", "on the Pareto front", alt.Undefined),
    ]


def _no_guarantee(apart: Sequence[Mapping[str, Any]], y: alt.Y, axis: EpsilonAxis) -> list[alt.Chart]:
    """A wash behind what has no epsilon, and its means carried across as what to compare with."""
    means = alt.InlineData(values=list(apart))
    return [
        axis.wash,
        alt.Chart(means).mark_rule(style="quiet", strokeDash=[5, 4], opacity=0.5).encode(y=y),
    ]


def _scale(means: Sequence[Mapping[str, Any]], seeds: Sequence[Mapping[str, Any]], metric: str) -> alt.Scale:
    ends = [(row["value"], row["value"]) for row in seeds]
    fits = ordinary(row["value"] for row in seeds)
    ends += [(row["low"], row["high"]) for row in means if row["low"] is not None and fits(row["high"] - row["low"])]
    return value_scale(ends, typical=[], metric=metric)


def _mean(panel: Panel, setting: Setting, axis: EpsilonAxis) -> dict[str, Any]:
    interval = setting.interval
    return {
        "place": axis.place(setting, setting.epsilon),
        "private": setting.epsilon is not None,
        "told": said(setting.epsilon),
        "setting": setting.label,
        "series": setting.series,
        "mean": interval.mean if interval else None,
        "low": possible(interval.low, metric=panel.headline) if interval else None,
        "high": possible(interval.high, metric=panel.headline) if interval else None,
        "interval": in_brackets(interval) or "one seed: none",
        "seeds": setting.seeds,
        "front": "yes" if setting.label in panel.front else "no",
    }


def _seeds(panel: Panel, setting: Setting, axis: EpsilonAxis) -> list[dict[str, Any]]:
    return [
        {
            "place": axis.place(setting, setting.epsilon and run.epsilon),
            "told": said(run.epsilon),
            "setting": setting.label,
            "series": setting.series,
            "seed": run.record.seed,
            "value": run.value,
            "run": run.record.run_id,
        }
        for run in setting.runs
        if run.value is not None
    ]
