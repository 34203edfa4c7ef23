"""What was measured beside what is claimed: empirical epsilon of audits, and what attacks got at each setting."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import altair as alt

from fedpriv.runs import Run, Unread

from .attack_results import MEMBERSHIP, guess, kind_of, named, result, results
from .by_setting import cell, chart, intervals, row, setting_axis, shown
from .colours import hues
from .numbers import bound
from .panels import Panel, Setting, said
from .tables import Table

_DASHES = ([1, 0], [7, 4], [2, 3], [9, 3, 2, 3])
MOST_CURVES = len(_DASHES)
"""Attacks that a figure has dashes for."""
_FAILED = "contradicts the claim"
_RATES = {"TPR at 1 % FPR": "tpr_at_1pct_fpr", "TPR at 0.1 % FPR": "tpr_at_0_1pct_fpr"}
_OTHER = ("success", "guessing", "PSNR, dB", "nearest other image, dB")


def claimed_and_measured(panel: Panel) -> alt.LayerChart | None:
    """Claimed epsilon of each setting, and what the audit of each of its runs shows; None: no audit was run."""
    audited = [(setting, run) for setting in shown(panel) for run in setting.runs if empirical(run) is not None]
    if not audited:
        return None
    scale = alt.Scale(type="symlog", constant=0.1, domainMin=0)
    y = alt.Y("epsilon:Q", title="epsilon", scale=scale)
    rows = [
        {
            "setting": setting.label,
            "epsilon": empirical(run),
            "told": f"{empirical(run):.3f}",
            "kind": "measured, at least",
            "run": run.record.run_id,
        }
        for setting, run in audited
    ]
    claims = [
        {
            "setting": setting.label,
            "epsilon": setting.epsilon,
            "told": said(setting.epsilon),
            "kind": "claimed, at most",
        }
        for setting in dict.fromkeys(setting for setting, _ in audited)
        if setting.epsilon is not None
    ]
    domain = ["claimed, at most", "measured, at least"]
    colour = alt.Color("kind:N", title=None, sort=domain, scale=alt.Scale(domain=domain))

    def layer(values: Sequence[Mapping[str, Any]]) -> alt.Chart:
        return alt.Chart(alt.InlineData(values=list(values))).encode(x=setting_axis(panel), y=y, color=colour)

    tips = [alt.Tooltip("setting:N"), alt.Tooltip("kind:N", title=" "), alt.Tooltip("told:N", title="epsilon")]
    points = layer(rows).mark_point(filled=True, size=80).encode(tooltip=[*tips, alt.Tooltip("run:N")])
    ticks = layer(claims).mark_tick(thickness=3, size=34).encode(tooltip=tips)
    return alt.layer(*([ticks] if claims else []), points)


def attack_auc(panel: Panel) -> alt.LayerChart | None:
    """Area under the ROC curve of each attack that tells members at each setting."""
    rows = [
        row(setting, name, interval, metric="auroc")
        for name in named(panel.runs, MEMBERSHIP)
        for setting, interval in intervals(panel, result(name, "auc"))
    ]
    found = chart(panel, rows, title="area under the ROC curve", each="attack")
    if found is None:
        return None
    chance = alt.Chart(alt.InlineData(values=[{"chance": 0.5}]))
    chance = chance.mark_rule(style="quiet", strokeDash=[5, 4], opacity=0.5)
    least = min(0.4, *(row["mean"] if row["low"] is None else row["low"] for row in rows))
    y = alt.Y("chance:Q", title="area under the ROC curve", scale=alt.Scale(domain=[math.floor(10 * least) / 10, 1]))
    return alt.layer(chance.encode(y=y), found)


def attack_roc(panel: Panel) -> alt.LayerChart | None:
    """ROC curves on logarithmic axes: of each setting the run of the lowest seed, of each attack that tells members."""
    names = named(panel.runs, MEMBERSHIP)[:MOST_CURVES]
    firsts = [(setting, min(setting.runs, key=lambda run: run.record.seed)) for setting in shown(panel)]
    curves = [(setting, name, found) for setting, run in firsts for name in names if (found := _curve(run, name))]
    if not curves:
        return None
    least = 10 ** math.floor(math.log10(1 / max(found["non_members"] for _, _, found in curves)))
    rows = [
        {"setting": setting.label, "attack": name, "fpr": fpr, "tpr": tpr}
        for setting, name, found in curves
        for fpr, tpr in zip(found["roc"]["fpr"], found["roc"]["tpr"], strict=True)
        if fpr >= least and tpr >= least
    ]
    scale = alt.Scale(type="log", domain=[least, 1], nice=False)
    x = alt.X("fpr:Q", title="false-positive rate", scale=scale, axis=_powers(least))
    y = alt.Y("tpr:Q", title="true-positive rate", scale=scale, axis=_powers(least))
    settings = list(dict.fromkeys(setting for setting, _, _ in curves))
    dashes = alt.StrokeDash(
        "attack:N",
        title=None,
        sort=names,
        scale=alt.Scale(domain=names, range=[list(dash) for dash in _DASHES[: len(names)]]),
        legend=alt.Legend(symbolType="stroke") if len(names) > 1 else None,
    )
    lines = alt.Chart(alt.InlineData(values=rows)).mark_line(strokeWidth=1.8, interpolate="step-after")
    lines = lines.encode(
        x=x,
        y=y,
        color=hues(panel.settings, named={setting.label for setting in settings}),
        strokeDash=dashes,
        order="fpr:Q",
        tooltip=[alt.Tooltip("setting:N"), alt.Tooltip("attack:N"), "fpr:Q", "tpr:Q"],
    )
    chance = alt.Chart(alt.InlineData(values=[{"fpr": least, "tpr": least}, {"fpr": 1, "tpr": 1}]))
    return alt.layer(chance.mark_line(style="quiet", strokeDash=[5, 4], opacity=0.5).encode(x=x, y=y), lines)


def measured_table(panel: Panel) -> Table:
    """Claimed and empirical epsilon of every setting, and what each attack got."""
    rows = [
        [setting.label, bound(setting.epsilon, 4), _audits(setting), name, *_cells(setting, name)]
        for setting in shown(panel)
        for name in _attacks(setting) or ([""] if _audits(setting) else [])
    ]
    columns = ["setting", "claimed epsilon", "measured, at least", "attack", "AUC", *_RATES, *_OTHER]
    filled = [index for index, _ in enumerate(columns) if index < 2 or any(line[index] for line in rows)]
    return Table(
        key=f"measured{panel.key}",
        caption="Measured epsilon is a lower bound, one a run, each with the confidence of its audit (95 % unless the "
        "config says otherwise): a small one proves nothing. AUC 0.5 is chance; means over seeds, 95 % intervals in "
        'brackets; "not measurable": too few non-members. An attack that fails is no proof of privacy.',
        columns=[columns[index] for index in filled],
        rows=[[line[index] for index in filled] for line in rows],
        numbers=frozenset(columns) - {"setting", "attack"},
    )


def contradicted(others: Sequence[Unread]) -> list[str]:
    """Runs whose audit refuted their claim."""
    return [f"{other.path.name}: {other.reason}" for other in others if _FAILED in other.reason]


def _powers(least: float) -> alt.Axis:
    return alt.Axis(values=[10.0**e for e in range(round(math.log10(least)), 1)], format="~g", grid=True)


def _attacks(setting: Setting) -> list[str]:
    return list(dict.fromkeys(name for run in setting.runs for name in results(run)))


def empirical(run: Run) -> float | None:
    """The lower bound that the run's audit shows; None: it was not audited."""
    found = run.record.audited
    return None if found is None else float(found["empirical_epsilon"])


def _audits(setting: Setting) -> str:
    return ", ".join(f"{found:.3f}" for run in setting.runs if (found := empirical(run)) is not None)


def _cells(setting: Setting, name: str) -> Iterator[str]:
    if not name:
        yield from [""] * (1 + len(_RATES) + len(_OTHER))
        return
    kind = next((kind for run in setting.runs if (kind := kind_of(results(run).get(name, {})))), None)
    yield cell(setting, result(name, "auc"))
    tells = kind is not None and kind.name == MEMBERSHIP
    for key in _RATES.values():
        yield cell(setting, result(name, key)) or ("not measurable" if tells else "")
    yield cell(setting, result(name, "success"))
    yield "" if kind is None or tells else cell(setting, guess(name, kind))
    yield cell(setting, result(name, "psnr"))
    yield cell(setting, result(name, "baseline")) if kind is not None and kind.mark == "psnr" else ""


def _curve(run: Run, name: str) -> Mapping[str, Any] | None:
    """What the attack's own file holds; None: it is not there, or holds no curve."""
    try:
        found = json.loads((run.path / "attacks" / f"{name}.json").read_text(encoding="utf-8"))
        return found if found["roc"]["fpr"] and found["non_members"] > 0 else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
