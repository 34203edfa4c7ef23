"""The panel's small figures: one axis of epsilon for all, solid what was measured, dashed what guessing gets."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import altair as alt

from fedpriv.runs import Run

from ..attack_results import KINDS, MEMBERSHIP, guess, named, result
from ..by_setting import Measure, interval_of, row
from ..epsilon_axis import EpsilonAxis
from ..groups import GAPS, MOST_GROUPS, accuracy, attributes, gap, names
from ..panels import Panel, said
from ..scales import value_scale
from .course import Course, course
from .movement import movement
from .privacy import headline, largest_share_right

_APART = 0.014  # of the axis, from one series' points to the next one's
_SHARE = alt.Scale(domain=[0, 1])
_MARGIN = 44  # pixels left of every figure's plot, so that the figures' axes of epsilon lie below each other


def responsible_utility(panel: Panel) -> alt.LayerChart | None:
    """The headline metric."""
    followed = course(panel)
    rows = [] if followed is None else list(_rows(followed, panel.metric, headline(followed), metric=panel.headline))
    return _chart(followed, rows, title=panel.metric, scale=_fitting(rows, panel.headline))


def responsible_odds(panel: Panel) -> alt.LayerChart | None:
    """How often a guess whether one unit was used may be right, by the guarantee; 0.5 is dashed."""
    followed = course(panel)
    if followed is None or not followed.private:
        return None
    rows = list(_rows(followed, "the most that is allowed", _allowed, metric="accuracy", chance=lambda run: 0.5))
    return _chart(followed, rows, title="share right", scale=alt.Scale(domain=[0.4, 1]))


def responsible_membership(panel: Panel) -> alt.LayerChart | None:
    """Area under the ROC curve of attacks that tell members; 0.5 is dashed."""
    followed = course(panel)
    attacks = [] if followed is None else named(followed.runs, MEMBERSHIP)
    rows = [point for name in attacks for point in _attack(followed, name, KINDS[0])]
    least = min((point["mean"] if point["low"] is None else point["low"] for point in rows), default=0.5)
    scale = alt.Scale(domain=[min(0.4, int(10 * least) / 10), 1])
    return _chart(followed, rows, title="AUC", scale=scale)


def responsible_attacks(panel: Panel) -> alt.LayerChart | None:
    """Success of all other attacks, and what guessing gets."""
    followed = course(panel)
    rows = [
        point
        for kind in KINDS
        if followed is not None and kind.name != MEMBERSHIP
        for name in named(followed.runs, kind.name)
        for point in _attack(followed, name, kind)
    ]
    return _chart(followed, rows, title="success", scale=_SHARE)


def responsible_accuracy(panel: Panel) -> alt.LayerChart | None:
    """Accuracy by group; of more groups than colours those that lose most."""
    followed = course(panel)
    if followed is None:
        return None
    measures = {
        f"{attribute}: {name}": accuracy(attribute, name)
        for attribute in attributes(followed.runs)
        for name in names(followed.runs, attribute)
    }

    def change(series: str) -> float:
        found = movement(followed, measures[series], metric="accuracy")
        return 0.0 if found is None else found.end.mean - found.start.mean

    def end(series: str) -> float:
        found = movement(followed, measures[series], metric="accuracy")
        return math.inf if found is None else found.end.mean

    worst = min(measures, key=end, default="")  # is told of, so it is drawn
    kept = set(sorted(measures, key=lambda series: (series != worst, change(series)))[:MOST_GROUPS])
    rows = [
        point
        for series, measure in measures.items()
        if series in kept
        for point in _rows(followed, series, measure, metric="accuracy")
    ]
    return _chart(followed, rows, title="test accuracy", scale=_fitting(rows, "accuracy"))


def responsible_gaps(panel: Panel) -> alt.LayerChart | None:
    """Demographic parity and equalised odds difference of each sensitive attribute."""
    followed = course(panel)
    rows = [
        point
        for attribute in (attributes(followed.runs) if followed is not None else [])
        for title, key in list(GAPS.items())[:2]
        for point in _rows(followed, f"{attribute}: {title}", gap(attribute, key), metric="accuracy")
    ]
    top = max((point["high"] or point["mean"] for point in rows), default=1.0)
    return _chart(followed, rows, title="difference", scale=alt.Scale(domain=[0, max(top, 0.05)], nice=True))


def _allowed(run: Run) -> float:
    """1 where nothing is promised."""
    claim = run.guarantee
    return 1.0 if claim is None else largest_share_right(float(claim["epsilon"]), float(claim["delta"]))


def _attack(followed: Course | None, name: str, kind: Any) -> Iterator[dict[str, Any]]:
    yield from _rows(followed, name, result(name, kind.success), metric="accuracy", chance=guess(name, kind))


def _rows(
    followed: Course | None, series: str, measure: Measure, *, metric: str, chance: Measure | None = None
) -> Iterator[dict[str, Any]]:
    """A point a setting; ``chance`` is what guessing gets."""
    for setting in followed.settings if followed is not None else ():
        interval = interval_of(setting, measure)
        if interval is not None:
            other = interval_of(setting, chance) if chance is not None else None
            yield {
                **row(setting, series, interval, metric=metric),
                "told": said(setting.epsilon),
                "epsilon": setting.epsilon,
                "budget": setting.budget,
                "chance": None if other is None else other.mean,
            }


def _fitting(rows: Sequence[Mapping[str, Any]], metric: str) -> alt.Scale:
    ends = [(r["mean"] if r["low"] is None else r["low"], r["mean"] if r["high"] is None else r["high"]) for r in rows]
    return value_scale(ends, typical=[], metric=metric) if ends else alt.Scale()


def _chart(
    followed: Course | None, rows: Sequence[dict[str, Any]], *, title: str, scale: alt.Scale
) -> alt.LayerChart | None:
    if followed is None or not rows:
        return None
    axis, series = EpsilonAxis(followed.settings), list(dict.fromkeys(point["series"] for point in rows))
    width = axis.domain[1] / axis.domain[0]
    for point in rows:
        setting = next(setting for setting in followed.settings if setting.label == point["setting"])
        shift = series.index(point["series"]) - (len(series) - 1) / 2
        point["place"] = axis.place(setting, setting.epsilon) * width ** (_APART * shift)
    y = alt.Axis(minExtent=_MARGIN, maxExtent=_MARGIN, tickCount=5, titlePadding=4)
    colour = alt.Color(
        "series:N",
        sort=series,
        title=None,
        scale=alt.Scale(domain=series),
        legend=alt.Legend(orient="bottom", columns=1, labelLimit=300) if len(series) > 1 else None,
    )

    def layer(values: Sequence[Mapping[str, Any]]) -> alt.Chart:
        return alt.Chart(alt.InlineData(values=list(values))).encode(x=axis.channel, color=colour)

    private = [point for point in rows if point["epsilon"] is not None]
    guessed = [point for point in rows if point["chance"] is not None]
    guesses = {known: [point for point in guessed if (point["epsilon"] is None) == known] for known in (False, True)}
    known = [point for point in rows if point["low"] is not None]
    mean = alt.Y("mean:Q", title=title, scale=scale, axis=y)
    tips = [
        alt.Tooltip("budget:N", title="setting"),
        alt.Tooltip("series:N", title="of"),
        alt.Tooltip("mean:Q", title=title, format=".4f"),
        alt.Tooltip("interval:N", title="95 % interval"),
        alt.Tooltip("chance:Q", title="guessing", format=".4f"),
        alt.Tooltip("seeds:Q", title="seeds"),
    ]
    tips = tips if guessed else [tip for tip in tips if tip.title != "guessing"]
    points = layer(rows).mark_point(filled=True, size=55).encode(y=mean, tooltip=tips)
    chance = alt.Y("chance:Q", title=title, scale=scale, axis=y)
    dashed = layer(guesses[False]).mark_line(strokeDash=[4, 3], strokeWidth=1.4, opacity=0.75)
    dashes = layer(guesses[True]).mark_tick(orient="horizontal", width=16, thickness=1.4, opacity=0.75)
    layers = [
        axis.wash if axis.places else None,
        dashed.encode(y=chance) if guesses[False] else None,
        dashes.encode(y=chance) if guesses[True] else None,
        layer(private).mark_line(strokeWidth=1.8).encode(y=mean) if private else None,
        layer(known)
        .mark_errorbar(ticks={"width": 5}, thickness=1.2)
        .encode(y=alt.Y("low:Q", title=title, scale=scale, axis=y), y2="high:Q")
        if known
        else None,
        points,
    ]
    return alt.layer(*(one for one in layers if one is not None))
