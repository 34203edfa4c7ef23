"""Where the seconds went."""

import altair as alt
import numpy as np

from .panels import Panel, thinned

_MOST_SETTINGS = 24
_INSIDE, _OUTSIDE = "in rounds", "outside of rounds"


def seconds(panel: Panel) -> alt.LayerChart | None:
    """Mean seconds of a setting's runs, in rounds and outside of them."""
    rows = []
    settings = [s for s in thinned(panel.settings, _MOST_SETTINGS) if any(run.record.seconds for run in s.runs)]
    for setting in settings:
        inside = float(np.mean([sum(run.rounds["seconds"].to_pylist()) for run in setting.runs]))
        total = float(np.mean([run.record.seconds for run in setting.runs]))
        rows += [
            {"setting": setting.label, "where": _INSIDE, "seconds": inside},
            {"setting": setting.label, "where": _OUTSIDE, "seconds": max(0.0, total - inside)},
        ]
    if not rows:
        return None
    where = alt.Scale(domain=[_INSIDE, _OUTSIDE])
    bars = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_bar(cornerRadiusEnd=2)
        .encode(
            x=alt.X("seconds:Q", title="seconds a run (mean over seeds)", stack="zero"),
            y=alt.Y("setting:N", title=None, sort=None, axis=alt.Axis(labelLimit=150, domain=False, ticks=False)),
            color=alt.Color("where:N", title=None, scale=where),
            tooltip=[
                alt.Tooltip("setting:N"),
                alt.Tooltip("where:N"),
                alt.Tooltip("seconds:Q", format=".3g"),
            ],
        )
    )
    return alt.layer(bars)
