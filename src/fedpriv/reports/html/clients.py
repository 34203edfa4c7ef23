"""How unequally clients fare: diagnostics over clients, by decile and by number of examples."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import numpy.typing as npt

from .client_epsilons import client_epsilons
from .colours import hues
from .numbers import bound
from .panels import Panel, Setting
from .tables import Table

_MOST_SETTINGS = 8
_CLIPPED = {"gradients": "diagnostic_clipped_examples", "updates": "diagnostic_clipped"}
_DECILES = np.arange(0, 101, 10)
_SAVED = {"min": 0, "median": 50, "max": 100} | {f"p{n}": n for n in range(10, 100, 10) if n != 50}
"""Quantiles over clients that `run.json` holds of each client's metrics."""
_QUARTERS = ("fewest examples", "second quarter", "third quarter", "most examples")

Values = npt.NDArray[np.float64]


def client_metric(panel: Panel) -> alt.LayerChart | None:
    """Quantiles over clients of the headline metric on their own training data."""
    name = f"diagnostic_client_{panel.headline.removeprefix('test_')}"

    def quantiles(setting: Setting) -> Mapping[int, float]:
        found = {}
        for key, percent in _SAVED.items():
            known = [value for run in setting.runs if (value := run.record.metrics.get(f"{name}_{key}")) is not None]
            if known:
                found[percent] = float(np.mean(known))
        return dict(sorted(found.items()))

    return _by_decile(panel, quantiles, title=f"client's {panel.metric.removeprefix('test ')}")


def client_clip_rate(panel: Panel) -> alt.LayerChart | None:
    """Deciles over clients of the share of what was clipped, averaged over a client's rounds."""
    clipped = dict.fromkeys(found[0] for run in panel.runs if (found := _clipped(run)) is not None)
    title = f"share of {' or '.join(clipped)} clipped"
    return _by_decile(panel, lambda setting: _deciles(setting, clip_rates), title=title, domain=(0, 1))


def client_epsilon(panel: Panel) -> alt.LayerChart | None:
    """Deciles over clients of each client's own epsilon; at example level only, where clients differ."""
    return _by_decile(panel, lambda setting: _deciles(setting, _epsilons), title="client's epsilon, at most", zero=True)


def size_table(panel: Panel) -> Table:
    """Clients in four groups by their number of examples: what each clips, learns and pays, over seeds."""
    metric = f"client's {panel.metric.removeprefix('test ')}"
    columns = ["setting", "clients", "examples a client", "share clipped", "train loss", metric, "epsilon, at most"]
    rows = []
    for setting in shown(panel):
        quarters = [found for run in setting.runs if (found := _quarters(run)) is not None]
        for index, name in enumerate(_QUARTERS):
            mine = [quarter[index] for quarter in quarters]
            if not mine:
                continue
            epsilons = [row["epsilon"] for row in mine if row["epsilon"] is not None]
            rows.append(
                [
                    setting.label,
                    name,
                    *(_average(row[key] for row in mine) for key in ("examples", "clipped", "train_loss", "metric")),
                    bound(max(epsilons), 4) if epsilons else "",
                ]
            )
    if rows and not any(row[-1] for row in rows):  # at client level all pay the same
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    return Table(
        key=f"clients_by_size{panel.key}",
        caption="Clients in quarters by their number of examples: means over clients and seeds. Diagnostics, but for "
        f"epsilon; {metric}: the final model on their own training data.",
        columns=columns,
        rows=rows,
        numbers=frozenset(columns[2:]),
    )


def _average(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{np.mean(known):.4g}" if known else ""


def clip_rates(run: Any) -> Values | None:
    """Mean share clipped of each client that took part; None where nothing is clipped."""
    found = _clipped(run)
    return None if found is None else found[1][1]


def _clipped(run: Any) -> tuple[str, tuple[Values, Values]] | None:
    """What is clipped, with each client's mean share of it: gradients of examples, or whole updates."""
    for what, column in _CLIPPED.items():
        if (found := _mean_by_client(run, column)) is not None:
            return what, found
    return None


def _epsilons(run: Any) -> Values | None:
    found = client_epsilons(run)
    return None if found is None else np.array(list(found.values()))


def _mean_by_client(run: Any, column: str) -> tuple[Values, Values] | None:
    """Client ids, and the mean of a column over each one's rounds; rounds without a number are left out."""
    table = run.clients
    if table is None or column not in table.column_names:
        return None
    clients = table["client"].to_numpy(zero_copy_only=False)
    values = np.asarray(table[column].to_numpy(zero_copy_only=False), dtype=np.float64)
    known = np.isfinite(values)
    if not known.any():
        return None
    ids, index = np.unique(clients[known], return_inverse=True)
    return ids, np.bincount(index, weights=values[known]) / np.bincount(index)


def _deciles(setting: Setting, measure: Callable[[Any], Values | None]) -> Mapping[int, float]:
    """Deciles over clients, averaged over seeds."""
    found = [values for run in setting.runs if (values := measure(run)) is not None and len(values)]
    if not found:
        return {}
    deciles = np.mean([np.percentile(values, _DECILES) for values in found], axis=0)
    return dict(zip(_DECILES.tolist(), deciles.tolist(), strict=True))


def _quarters(run: Any) -> list[dict[str, Any]] | None:
    sizes = _mean_by_client(run, "diagnostic_examples")
    if sizes is None:
        return None
    ids, examples = sizes
    order = np.argsort(examples, kind="stable")
    epsilons, clipped = client_epsilons(run) or {}, _clipped(run)
    headline = run.headline.removeprefix("test_")
    columns = {
        "clipped": clipped and clipped[1],
        "train_loss": _mean_by_client(run, "diagnostic_loss"),
    }
    rows: list[dict[str, Any]] = []
    for members in np.array_split(order, len(_QUARTERS)):
        chosen = ids[members]
        mine = [epsilons[client] for client in chosen.tolist() if client in epsilons]
        row: dict[str, Any] = {
            "metric": run.record.metrics.get(f"diagnostic_client_{headline}_quarter{len(rows) + 1}"),
            "clients": len(members),
            "examples": float(examples[members].mean()) if len(members) else None,
            "epsilon": max(mine) if mine else None,
        }
        for name, found in columns.items():
            inside = found[1][np.isin(found[0], chosen)] if found is not None else np.empty(0)
            row[name] = float(inside.mean()) if len(inside) else None
        rows.append(row)
    return rows


def _by_decile(
    panel: Panel,
    quantiles: Callable[[Setting], Mapping[int, float]],
    *,
    title: str,
    zero: bool = False,
    domain: tuple[float, float] | None = None,
) -> alt.LayerChart | None:
    settings = shown(panel)
    rows = [
        {"setting": setting.label, "percent": percent, "value": value, "private": setting.epsilon is not None}
        for setting in settings
        for percent, value in quantiles(setting).items()
    ]
    if not rows:
        return None
    toggled = alt.selection_point(name=f"shown{panel.key}", fields=["setting"], bind="legend", toggle="true")
    chart = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X(
            "percent:Q",
            title="percentile of clients",
            axis=alt.Axis(values=[0, 10, 25, 50, 75, 90, 100], grid=False),
        ),
        y=alt.Y(
            "value:Q", title=title, scale=alt.Scale(zero=zero) if domain is None else alt.Scale(domain=list(domain))
        ),
        color=hues(settings, named={str(row["setting"]) for row in rows}),
        opacity=alt.condition(toggled, alt.value(1), alt.value(0.08)),
    )
    points = chart.mark_point(filled=True, size=45).encode(
        tooltip=[
            alt.Tooltip("setting:N", title="setting"),
            alt.Tooltip("percent:Q", title="percentile of clients"),
            alt.Tooltip("value:Q", title=title, format=".4f"),
        ]
    )
    line = chart.mark_line(strokeWidth=2).encode(
        strokeDash=alt.condition("datum.private", alt.value([1, 0]), alt.value([6, 3]))
    )
    return alt.layer(line.add_params(toggled), points)


def shown(panel: Panel) -> Sequence[Setting]:
    """The settings whose clients are drawn."""
    return panel.foremost(_MOST_SETTINGS)
