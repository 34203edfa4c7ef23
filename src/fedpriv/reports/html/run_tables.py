"""Tables of runs: what they reached, where they lie, how their configs differ, what ran them, how long they took."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np

from fedpriv.runs import Run, Unread
from fedpriv.runs.settings import choices, flat, swept_keys

from .numbers import bound, metric, seconds
from .numbers import setting as config_value
from .panels import Panel, each_run, each_setting
from .rounds import column_of
from .tables import Cell, Link, Table


def run_table(panels: Sequence[Panel], *, beside: Path | None) -> Table:
    """A row a run, linked to its folder where the page's own folder is known."""
    columns = ["run", "setting", "seed", "status", "epsilon", "metric", "value", "test loss", "rounds", "seconds"]
    rows = [
        [
            _link(run.path, f"{run.record.name}/{run.record.run_id}", beside),
            setting.label,
            str(run.record.seed),
            run.record.status.replace("_", " "),
            bound(run.epsilon),
            panel.metric,
            metric(run.value),
            metric(run.record.metrics.get("test_loss")),
            str(run.record.rounds),
            seconds(run.record.seconds),
        ]
        for panel, setting, run in each_run(panels)
    ]
    numbers = frozenset({"seed", "epsilon", "value", "test loss", "rounds", "seconds"})
    return Table(key="runs", caption="", columns=columns, rows=rows, numbers=numbers)


def others_table(others: Sequence[Unread], *, beside: Path | None) -> Table:
    """Folders that are not reported, with the reason."""
    rows: list[list[Cell]] = [
        [_link(other.path, other.path.name, beside), (other.status or "unreadable").replace("_", " "), other.reason]
        for other in others
    ]
    return Table(
        key="not_reported",
        caption="No number on this page comes from these.",
        columns=["folder", "status", "reason"],
        rows=rows,
        numbers=frozenset(),
    )


def difference_table(panels: Sequence[Panel]) -> Table | None:
    """Where the settings' configs differ; None: nowhere."""
    runs = [run for _, _, run in each_run(panels)]
    if not (keys := swept_keys(runs)):
        return None
    rows = []
    for setting in each_setting(panels):
        values = choices(setting.runs[0], keys)
        rows.append([setting.label, *(config_value(values[key]) for key in keys)])
    return Table(
        key="config_differences",
        caption="Keys in which settings differ (seeds apart).",
        columns=["setting", *keys],
        rows=rows,
        numbers=frozenset(),
    )


def shared_table(runs: Sequence[Run]) -> Table:
    """The config keys with one value in all runs."""
    swept = set(swept_keys(runs))
    common = {key: value for key, value in flat(runs[0].config).items() if key not in swept}
    return Table(
        key="config_shared",
        caption="",
        columns=["key", "value"],
        rows=[[key, config_value(value)] for key, value in common.items()],
        numbers=frozenset(),
    )


def seconds_table(panels: Sequence[Panel]) -> Table:
    """A row a setting: how long its runs took, and where that went."""
    columns = [
        "setting",
        "runs",
        "seconds a run",
        "training",
        "global tests",
        "outside of rounds",
        "slowest round",
        "seconds a round",
        "engine",
        "workers",
    ]
    rows = []
    for setting in each_setting(panels):
        total = [run.record.seconds for run in setting.runs]
        rounds = [column_of(run.rounds, "seconds") for run in setting.runs]
        inside = float(np.mean([each.sum() for each in rounds]))
        testing = float(np.mean([column_of(run.rounds, "seconds_testing").sum() for run in setting.runs]))
        longest = [float(each.max()) for each in rounds if len(each)]
        typical = [float(np.median(each)) for each in rounds if len(each)]
        rows.append(
            [
                setting.label,
                str(len(setting.runs)),
                seconds(float(np.mean(total))),
                seconds(inside - testing),
                seconds(testing),
                seconds(max(0.0, float(np.mean(total)) - inside)),
                seconds(max(longest, default=None)),
                seconds(float(np.mean(typical)) if typical else None),
                _one_of(str((run.record.extra.get("training") or {}).get("engine", "")) for run in setting.runs),
                _one_of(str(max(1, len(run.record.execution.worker_pids))) for run in setting.runs),
            ]
        )
    return Table(
        key="seconds",
        caption="Means over seeds. Outside of rounds: workers' start, the last evaluation, files.",
        columns=columns,
        rows=rows,
        numbers=frozenset(columns) - {"setting", "engine"},
    )


def environment_table(runs: Sequence[Run]) -> Table:
    """Packages and revision, with how many runs had each where they differ."""
    found: dict[str, dict[str, int]] = {}
    for run in runs:
        facts: Mapping[str, str] = {"fedpriv's source (revision)": run.record.revision, **run.record.packages}
        for name, value in facts.items():
            counts = found.setdefault(name, {})
            counts[value] = counts.get(value, 0) + 1
    rows = [
        [name, next(iter(counts)) if len(counts) == 1 else "; ".join(f"{v} ({n} runs)" for v, n in counts.items())]
        for name, counts in found.items()
    ]
    return Table(key="environment", caption="", columns=["what", "version"], rows=rows, numbers=frozenset())


def _one_of(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))


def _link(folder: Path, text: str, beside: Path | None) -> Cell:
    """Relative, so that folder and page can be moved together."""
    if beside is None:
        return text
    return Link(text, quote(Path(os.path.relpath(folder.resolve(), beside.resolve())).as_posix() + "/"))
