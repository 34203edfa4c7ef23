"""A report of runs: everything that one page says, and the page."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fedpriv.accounting.guarantee import EVIDENCE
from fedpriv.errors import InputError
from fedpriv.runs import Run, Runs
from fedpriv.runs.likeness import differences
from fedpriv.runs.settings import seeds_of

from . import by_setting, clients, curves, groups, measured
from .best import best_run
from .cost import answer, cost_table
from .exports import export_figures, export_tables, write
from .figures import Drawn, draw, on_paper
from .guarantees import guarantee_table, in_all_words
from .numbers import listed
from .panels import Panel, each_setting, panels
from .privacy_utility import MOST_SERIES, outside
from .rendering import render
from .run_tables import (
    difference_table,
    environment_table,
    others_table,
    run_table,
    seconds_table,
    shared_table,
)
from .tables import Table

_CONTENTS = (
    ("answer", "Answer"),
    ("curves", "By round"),
    ("guarantees", "Guarantees"),
    ("clients", "Clients"),
    ("groups", "Groups"),
    ("attacks", "Attacks and audits"),
    ("runs", "Runs"),
    ("config", "Config"),
    ("seconds", "Seconds"),
    ("environment", "Environment"),
)


def write_report(
    runs: Runs, output: Path | str, *, title: str | None = None, tables: Path | None = None, figures: Path | None = None
) -> None:
    """Write a report as one HTML file that needs nothing beside it.

    Args:
        runs: such as ``fedpriv.load`` gives.
        output: the file; it is replaced.
        title: its heading; else the names of the experiments.
        tables: a folder for the report's tables, each as CSV and Markdown.
        figures: a folder for its figures, each as PNG and SVG.

    Raises:
        InputError: no run that can be reported, or a file that cannot be written.
    """
    if not len(runs):
        reasons = "; ".join(f"{other.path}: {other.reason}" for other in runs.others[:3])
        raise InputError(f"No run here can be reported. {reasons}".strip())
    file = Path(output)
    if file.is_dir():
        raise InputError(f"{file} is a folder. Give the name of a file, as in -o {file / 'report.html'}.")
    report = _Report(runs=runs, title=title, beside=file.parent)
    write(file, report.page())
    if tables is not None:
        export_tables(report.tables, tables)
    if figures is not None:
        export_figures(report.figures, figures)


@dataclass(frozen=True, kw_only=True)
class _Report:
    runs: Runs
    title: str | None
    beside: Path

    @cached_property
    def panels(self) -> Sequence[Panel]:
        return panels(self.runs.runs)

    @cached_property
    def drawn(self) -> Mapping[str, Mapping[str, Sequence[Drawn]]]:
        """Panel -> part of the page -> figures."""
        return {panel.key: {part: list(_figures(part, panel)) for part in _PARTS} for panel in self.panels}

    @property
    def figures(self) -> Iterator[Drawn]:
        return (figure for parts in self.drawn.values() for figures in parts.values() for figure in figures)

    @cached_property
    def tables(self) -> Sequence[Table]:
        runs = list(self.runs)
        found = [
            *(cost_table(panel) for panel in self.panels),
            guarantee_table(self.panels),
            *(clients.size_table(panel) for panel in self.panels),
            *(groups.group_table(panel) for panel in self.panels),
            *(measured.measured_table(panel) for panel in self.panels),
            run_table(self.panels, beside=self.beside),
            others_table(self.runs.others, beside=self.beside),
            difference_table(self.panels),
            shared_table(runs),
            seconds_table(self.panels),
            environment_table(runs),
        ]
        return [table for table in found if table is not None and table.rows]

    def page(self) -> str:
        by_key = {table.key: table for table in self.tables}
        names = list(dict.fromkeys(run.record.name for run in self.runs))
        several = len(self.panels) > 1
        said: dict[str, Any] = {
            "title": self.title or f"{', '.join(names[:3])}{', ...' * (len(names) > 3)}: privacy and utility",
            "summary": _summary(self.runs, self.panels),
            "contents": _CONTENTS,
            "answer": [(panel.title if several else "", answer(panel)) for panel in self.panels],
            "warnings": differences(self.runs.runs),
            "panels": [
                {
                    "title": panel.title,
                    **self.drawn[panel.key],
                    "tables": [by_key[f"cost_of_privacy{panel.key}"]],
                    "best": best_run(panel),
                    "by_size": by_key.get(f"clients_by_size{panel.key}"),
                    "by_group": by_key.get(f"groups{panel.key}"),
                    "measured_table": by_key.get(f"measured{panel.key}"),
                }
                for panel in self.panels
            ],
            "any_clients": any(parts["clients"] for parts in self.drawn.values()),
            "any_groups": any(parts["groups"] for parts in self.drawn.values()),
            "guarantees": list(in_all_words(self.panels)),
            "audits": _audits(list(self.runs)),
            "any_measured": any(table.key.startswith("measured") for table in self.tables),
            "contradicted": measured.contradicted(self.runs.others),
            "guarantee_table": by_key["guarantees"],
            "run_table": by_key["runs"],
            "others": by_key.get("not_reported"),
            "differences": by_key.get("config_differences"),
            "shared": by_key["config_shared"],
            "seconds": by_key["seconds"],
            "environment": by_key["environment"],
        }
        return render(said, specs={figure.key: _spec(figure) for figure in self.figures})


def _spec(figure: Drawn) -> dict[str, Any]:
    spec: dict[str, Any] = figure.chart.to_dict()
    spec.pop("config", None)  # the page has its own, by theme
    return spec | {"width": "container", "autosize": {"type": "fit-x", "contains": "padding"}}


_PARTS: Mapping[str, Sequence[tuple[str, str, str]]] = {
    "answer": [
        (
            "privacy_utility",
            "Privacy and utility",
            "Means over seeds with 95 % intervals (Student's t, drawn as far as possible values go); faint dots are "
            "single seeds. Filled: on the Pareto front; hollow: another setting has no more epsilon and does better. "
            "What has no epsilon stands apart, and its mean is the dashed line.",
        )
    ],
    "curves": [
        ("learning_curves", "Learning curves", "Means over seeds; ribbons are 95 % intervals. Dashed: no guarantee."),
        ("epsilon_by_round", "Epsilon spent", "The most over seeds, as told while training: upper bounds."),
        (
            "train_loss",
            "Training loss",
            "A diagnostic: from training data, covered by no guarantee. What diverges leaves the figure.",
        ),
    ],
    "clients": [
        (
            "client_metric",
            "What clients get",
            "The final model on each client's own training data, quantiles over clients.",
        ),
        (
            "client_clip_rate",
            "Clip rate",
            "Share of a client's gradients (example level) or updates (client level) that were clipped.",
        ),
        ("client_epsilon", "Epsilon by client", "From the ledger, by Rényi DP; the guarantee is their maximum."),
    ],
    "groups": [
        (
            "group_gaps",
            "Differences between groups",
            "Largest minus smallest rate over the groups of the test set: of predictions of class 1 (demographic "
            "parity), of true and of false positives (equalised odds). Means over seeds, 95 % intervals.",
        ),
        ("group_accuracy", "Accuracy by group", "On the group's test examples. Means over seeds, 95 % intervals."),
    ],
    "measured": [
        (
            "claimed_and_measured",
            "Epsilon, claimed and measured",
            "Bars: what is proved, at most. Dots: what the canaries of each run show, at least.",
        ),
        (
            "attack_auc",
            "Attacks against epsilon",
            "How well each attack tells who was in the training data: 0.5 is chance. Means over seeds, 95 % intervals.",
        ),
        (
            "attack_roc",
            "ROC curves",
            "Share of members found at each share of false alarms, both logarithmic: what is found at few false alarms "
            "is what harms. One run of each setting, that of the lowest seed; dashed and straight: chance.",
        ),
    ],
    "seconds": [("seconds", "Where the seconds went", "")],
}


def _figures(part: str, panel: Panel) -> Iterator[Drawn]:
    for name, title, caption in _PARTS[part]:
        chart = draw(name, panel)
        if chart is not None:
            caption = f"{caption} {_thinned(part, panel)}".strip()
            yield Drawn(f"figure_{name}{panel.key}", title, caption, chart, on_paper([panel]))


def _thinned(part: str, panel: Panel) -> str:
    """Says it, where a figure does not show all."""
    counted = {"curves": curves.drawn, "clients": clients.shown, "groups": by_setting.shown}
    counted["measured"] = by_setting.shown
    shown = len(counted[part](panel)) if part in counted else len(panel.settings)
    most = max(run.rounds.num_rows for run in panel.runs) if part == "curves" else 0
    said = []
    if shown < len(panel.settings):
        said.append(f"{shown} of {len(panel.settings)} settings: the Pareto front and the best without a guarantee.")
    if most > curves.MOST_ROUNDS:
        said.append(f"At most {curves.MOST_ROUNDS} rounds of each are drawn, spread evenly.")
    if part == "groups" and groups.too_many(panel):
        said.append(f"Of the groups the {groups.MOST_GROUPS} whose accuracy differs most between settings.")
    if part == "answer" and (diverged := [s.label for s in panel.settings if outside(panel, s)]):
        said.append(f"Far outside, and left out: {listed(diverged[:4])}{' and more' * (len(diverged) > 4)}.")
    if part == "answer" and len({setting.series for setting in panel.settings}) > MOST_SERIES:
        said.append("Only the best series have a colour; the others are points without a line.")
    return " ".join(said)


def _summary(runs: Runs, panels: Sequence[Panel]) -> str:
    settings = len(list(each_setting(panels)))
    seeds = len({seeds_of(run)[:-1] for run in runs})
    left_out = f"; {len(runs.others)} more are not reported (listed below)" if runs.others else ""
    return f"{_count(len(runs), 'run')}, {_count(settings, 'setting')}, {_count(seeds, 'seed')}{left_out}."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _audits(runs: Sequence[Run]) -> str:
    told = dict.fromkeys(str(run.guarantee["evidence"]) for run in runs if run.guarantee)
    made = [evidence for evidence in told if evidence != EVIDENCE]
    return "; ".join(made) or "No claim was audited: it is proved from the ledger, and nothing was measured beside it."
