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

from . import clients, groups, measured, responsible
from .best import best_run
from .cost import answer, cost_table
from .exports import export_figures, export_tables, write
from .figures import Drawn
from .guarantees import guarantee_table, in_all_words
from .panels import Panel, each_setting, panels
from .parts import PARTS, figures_of
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

_RESPONSIBLE = "responsible"
_CONTENTS = (
    ("answer", "Answer"),
    (_RESPONSIBLE, "Responsible AI"),
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
    runs: Runs,
    output: Path | str,
    *,
    title: str | None = None,
    tables: Path | None = None,
    figures: Path | None = None,
    galleries: bool = False,
) -> None:
    """Write a report as one HTML file that needs nothing beside it.

    Args:
        runs: such as ``fedpriv.load`` gives.
        output: the file; it is replaced.
        title: its heading; else the names of the experiments.
        tables: a folder for the report's tables, each as CSV and Markdown.
        figures: a folder for its figures, each as PNG and SVG.
        galleries: whether to show images that attacks rebuilt, beside the training examples that they are of.

    Raises:
        InputError: no run that can be reported, or a file that cannot be written.
    """
    if not len(runs):
        reasons = "; ".join(f"{other.path}: {other.reason}" for other in runs.others[:3])
        raise InputError(f"No run here can be reported. {reasons}".strip())
    file = Path(output)
    if file.is_dir():
        raise InputError(f"{file} is a folder. Give the name of a file, as in -o {file / 'report.html'}.")
    report = _Report(runs=runs, title=title, beside=file.parent, with_galleries=galleries)
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
    with_galleries: bool

    @cached_property
    def panels(self) -> Sequence[Panel]:
        return panels(self.runs.runs)

    @cached_property
    def drawn(self) -> Mapping[str, Mapping[str, Sequence[Drawn]]]:
        """Panel -> part of the page -> figures."""
        return {panel.key: {part: list(figures_of(part, panel)) for part in PARTS} for panel in self.panels}

    @cached_property
    def sections(self) -> Sequence[responsible.Section]:
        """Of the panel on responsible AI, one for each panel that there is something to say of."""
        found = (responsible.section(panel, with_galleries=self.with_galleries) for panel in self.panels)
        return [section for section in found if section is not None]

    @property
    def figures(self) -> Iterator[Drawn]:
        return (figure for parts in self.drawn.values() for figures in parts.values() for figure in figures)

    @property
    def _captions(self) -> Iterator[str]:
        """Below the figures of the panel on responsible AI."""
        parts = (self.drawn[section.panel][part] for section in self.sections for _, part, _ in section.columns)
        return (f"{figure.title} {figure.caption}" for figures in parts for figure in figures)

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
            "contents": [(key, name) for key, name in _CONTENTS if key != _RESPONSIBLE or self.sections],
            "responsible": self.sections,
            "drawn": self.drawn,
            "titles": {panel.key: panel.title for panel in self.panels},
            "glossary": responsible.glossary(self.sections, self._captions),
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
