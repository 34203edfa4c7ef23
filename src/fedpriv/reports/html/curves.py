"""Curves by round: what a setting learns, and what it spends."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from .colours import hues
from .numbers import is_share, metric, possible
from .panels import Panel, Setting, thinned
from .rounds import by_round
from .scales import value_scale, within

_MOST_CURVES = 8
"""Settings in one figure: more colours are not told apart."""
MOST_ROUNDS = 160


def learning_curves(panel: Panel) -> alt.LayerChart | None:
    """Mean of the headline metric over seeds by round, ribbons of 95 % intervals."""
    return _curves(panel, column=panel.headline, title=panel.metric)


def train_loss(panel: Panel) -> alt.LayerChart | None:
    """Mean training loss by round: a diagnostic, from training data."""
    return _curves(panel, column="diagnostic_train_loss", title="train loss (a diagnostic)")


def epsilon_by_round(panel: Panel) -> alt.LayerChart | None:
    """Epsilon spent so far, the most over seeds: an upper bound."""
    return _curves(panel, column="epsilon", title="epsilon spent, at most")


def drawn(panel: Panel) -> Sequence[Setting]:
    """The settings whose curves are drawn."""
    return panel.foremost(_MOST_CURVES)


def _curves(panel: Panel, *, column: str, title: str) -> alt.LayerChart | None:
    bound = column == "epsilon"
    rows: list[dict[str, Any]] = []
    settings = [setting for setting in drawn(panel) if not (bound and setting.epsilon is None)]
    for setting in settings:
        points = by_round(setting.runs, column=column, most=bound)
        rows += [_row(setting, point, column) for point in thinned(points, MOST_ROUNDS)]
    if not rows:
        return None
    shown = {row["setting"] for row in rows}
    toggled = alt.selection_point(name=f"shown{panel.key}", fields=["setting"], bind="legend", toggle="true")
    hovered = alt.selection_point(
        name=f"hovered{panel.key}", fields=["round"], nearest=True, on="pointermove", clear="pointerout", empty=False
    )
    ends = [min(row["round"] for row in rows), max(row["round"] for row in rows)]
    x = alt.X(
        "round:Q", title="round", scale=alt.Scale(domain=ends), axis=alt.Axis(tickMinStep=1, format="~s", grid=False)
    )
    chart = alt.Chart(alt.InlineData(values=rows)).encode(
        x=x,
        color=hues(drawn(panel), named=shown),
    )
    clear = alt.condition(toggled, alt.value(1), alt.value(0.08))
    scale = alt.Scale(zero=True, padding=0) if bound else _scale(rows, column)
    for point in [] if bound else rows:
        point |= {key: within(point[key], scale) for key in ("mean", "low", "high")}
    y = alt.Y("mean:Q", title=title, scale=scale, axis=alt.Axis(format="~g"))
    ribbon = chart.mark_area(clip=True).encode(
        y=alt.Y("low:Q", title=title), y2="high:Q", opacity=alt.condition(toggled, alt.value(0.16), alt.value(0.02))
    )
    ribbons = [ribbon.transform_filter("isValid(datum.low)")] if any(row["low"] is not None for row in rows) else []
    line = chart.mark_line(clip=True, strokeWidth=2, interpolate="step-after" if bound else "linear").encode(
        y=y, opacity=clear, strokeDash=alt.condition("datum.private", alt.value([1, 0]), alt.value([6, 3]))
    )
    # Written out, since Vega-Lite looks for the row in the wrong place where the nearest point is taken.
    row = "(datum.datum || datum)"
    told = {"setting": f"{row}.setting", "round": f"{row}.round", title: f"{row}.told"}
    told |= {} if bound else {"95 % interval": f"{row}.interval"}
    told |= {"seeds": f"{row}.seeds"}
    written = ", ".join(f"{json.dumps(key)}: {value}" for key, value in told.items())
    tooltip = alt.TooltipValue(alt.ExprRef(f"{{{written}}}"))
    points = chart.mark_point(clip=True, filled=True, size=55).encode(
        y=y,
        opacity=alt.condition(hovered, alt.value(1), alt.value(0)),
        tooltip=tooltip,
    )
    ruler = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_rule(style="quiet", opacity=0.35)
        .encode(x=x)
        .transform_filter(hovered)
    )
    return alt.layer(*ribbons, line.add_params(toggled), ruler, points.add_params(hovered))


def _scale(rows: Sequence[Mapping[str, Any]], column: str) -> alt.Scale:
    curves: dict[str, list[float]] = {}
    for row in rows:
        curves.setdefault(row["setting"], []).append(row["mean"])
    ends = [(min(means), max(means)) for means in curves.values()]
    ribbons = [(row["low"], row["high"]) for row in rows if row["low"] is not None] if is_share(column) else []
    return value_scale([*ends, *ribbons], typical=ends, metric=column)


def _row(setting: Setting, point: Mapping[str, Any], column: str) -> dict[str, Any]:
    low, high = point["low"], point["high"]
    return {
        "setting": setting.label,
        "private": setting.epsilon is not None,
        "interval": "one seed: none" if low is None else f"{metric(low)} to {metric(high)}",
        "told": metric(point["mean"]),
        **point,
        "low": possible(low, metric=column),
        "high": possible(high, metric=column),
    }
