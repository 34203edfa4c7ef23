"""Who pays: how sensitive groups of the test set fare at each setting, and how far apart they are."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from fedpriv.runs import Run

from .by_setting import Measure, cell, chart, interval_of, intervals, row, shown
from .panels import Panel, Setting
from .tables import Table

MOST_GROUPS = 8
"""Groups that a figure has a colour for."""
GAPS: Mapping[str, str] = {
    "demographic parity": "demographic_parity_difference",
    "equalised odds": "equalized_odds_difference",
    "equal opportunity": "equal_opportunity_difference",
}
"""Differences between groups, and their keys."""


def group_gaps(panel: Panel) -> alt.LayerChart | None:
    """Demographic parity and equalised odds difference of each sensitive attribute at each setting."""
    rows = [
        row(setting, f"{attribute}: {name.split()[-1]}", interval, metric="accuracy")  # short, for phones
        for attribute in attributes(panel.runs)
        for name, key in list(GAPS.items())[:2]
        for setting, interval in intervals(panel, gap(attribute, key))
    ]
    return chart(panel, rows, title="difference between groups", each="group")


def group_accuracy(panel: Panel) -> alt.LayerChart | None:
    """Test accuracy of the groups at each setting; of more than have a colour, those that settings differ in most."""
    found = {
        f"{attribute}: {name}": intervals(panel, accuracy(attribute, name))
        for attribute in attributes(panel.runs)
        for name in names(panel.runs, attribute)
    }

    def range_of(series: str) -> float:
        means = [interval.mean for _, interval in found[series]]
        return max(means) - min(means)

    widest = sorted((series for series in found if found[series]), key=range_of, reverse=True)[:MOST_GROUPS]
    rows = [
        row(setting, series, interval, metric="accuracy")
        for series in found
        if series in widest
        for setting, interval in found[series]
    ]
    return chart(panel, rows, title="test accuracy of the group", each="group")


def group_table(panel: Panel) -> Table:
    """The differences of every attribute at every setting, and its groups of lowest and highest accuracy."""
    rows = [
        [setting.label, attribute, *(cell(setting, gap(attribute, key)) for key in GAPS.values()), *worst_and_best]
        for attribute in attributes(panel.runs)
        for setting in shown(panel)
        if any(worst_and_best := _ends(panel, setting, attribute))
    ]
    columns = ["setting", "attribute", *GAPS, "lowest accuracy", "highest accuracy"]
    return Table(
        key=f"groups{panel.key}",
        caption="Sensitive groups of the test set: largest difference between groups (fairlearn), and the groups of "
        "lowest and highest accuracy with their number of test examples; means over seeds, 95 % intervals in brackets. "
        "Groups of few examples make differences large by chance.",
        columns=columns,
        rows=rows,
        numbers=frozenset(columns[2:5]),
    )


def too_many(panel: Panel) -> bool:
    """Whether there are more groups than colours."""
    return sum(len(names(panel.runs, attribute)) for attribute in attributes(panel.runs)) > MOST_GROUPS


def _entries(run: Run) -> Mapping[str, Mapping[str, Any]]:
    found = run.record.extra.get("fairness")
    return found if isinstance(found, dict) else {}


def attributes(runs: Sequence[Run]) -> list[str]:
    """The sensitive attributes that the data of these runs name."""
    return list(dict.fromkeys(attribute for run in runs for attribute in _entries(run)))


def names(runs: Sequence[Run], attribute: str) -> list[str]:
    """The groups of an attribute whose accuracy was measured."""
    return list(dict.fromkeys(name for run in runs for name in _by_group(run, attribute)))


def _by_group(run: Run, attribute: str) -> Mapping[str, float | None]:
    return _entries(run).get(attribute, {}).get("accuracy_by_group") or {}


def gap(attribute: str, key: str) -> Measure:
    """A difference between the groups of an attribute; ``key`` as in ``GAPS``."""
    return lambda run: _entries(run).get(attribute, {}).get(key)


def accuracy(attribute: str, name: str) -> Measure:
    """Test accuracy of a group."""
    return lambda run: _by_group(run, attribute).get(name)


def _ends(panel: Panel, setting: Setting, attribute: str) -> list[str]:
    """The groups of lowest and of highest accuracy in words; empty where none was measured."""
    measured = {name: interval_of(setting, accuracy(attribute, name)) for name in names(panel.runs, attribute)}
    means = {name: interval.mean for name, interval in measured.items() if interval is not None}
    if not means:
        return ["", ""]
    counts = _entries(setting.runs[0]).get(attribute, {}).get("test_examples_by_group", {})
    ends = (min(means, key=means.__getitem__), max(means, key=means.__getitem__))
    return [f"{name} {means[name]:.3f} (n = {counts.get(name, '?')})" for name in ends]
