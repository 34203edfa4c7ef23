"""Where the seconds went."""

import altair as alt
import numpy as np

from .panels import Panel, Setting, thinned
from .rounds import column_of

_MOST_SETTINGS = 24
_TRAINING, _TESTING, _OUTSIDE = "training", "global tests", "outside of rounds"


def seconds(panel: Panel) -> alt.LayerChart | None:
    """Mean seconds of a setting's runs: what trains, what tests, and the rest."""
    rows = []
    settings = [s for s in thinned(panel.settings, _MOST_SETTINGS) if any(run.record.seconds for run in s.runs)]
    for setting in settings:
        inside, testing = (_mean_sum(setting, column) for column in ("seconds", "seconds_testing"))
        total = float(np.mean([run.record.seconds for run in setting.runs]))
        parts = {_TRAINING: inside - testing, _TESTING: testing, _OUTSIDE: total - inside}
        rows += [{"setting": setting.label, "where": w, "seconds": max(0.0, s)} for w, s in parts.items()]
    if not rows:
        return None
    where = alt.Scale(domain=[_TRAINING, _TESTING, _OUTSIDE])
    bars = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_bar(cornerRadiusEnd=2)
        .encode(
            x=alt.X("seconds:Q", title="seconds a run (mean over seeds)", stack="zero"),
            y=alt.Y("setting:N", title=None, sort=None, axis=alt.Axis(labelLimit=260, domain=False, ticks=False)),
            color=alt.Color("where:N", title=None, scale=where),
            tooltip=[
                alt.Tooltip("setting:N"),
                alt.Tooltip("where:N"),
                alt.Tooltip("seconds:Q", format=".3g"),
            ],
        )
    )
    return alt.layer(bars)


def _mean_sum(setting: Setting, column: str) -> float:
    return float(np.mean([column_of(run.rounds, column).sum() for run in setting.runs]))
