"""What is drawn together: settings whose runs are alike, and those without a guarantee as their baseline."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from fedpriv.accounting.printed import upwards
from fedpriv.runs import Run
from fedpriv.runs.likeness import comparable
from fedpriv.runs.settings import Setting as Grouped
from fedpriv.runs.settings import problem, without_noise, without_privacy
from fedpriv.runs.settings import settings as grouped
from fedpriv.runs.statistics import Interval, pareto_front

T = TypeVar("T")

NO_PRIVACY, NO_NOISE, NO_CLAIM = "no privacy", "no noise", "no guarantee"
APART = (NO_CLAIM, NO_NOISE, NO_PRIVACY)
"""What settings without an epsilon have instead, in the order in which an axis has them."""
_BUDGET = re.compile(r"(?:^|(?<= ))privacy(?:\.epsilon|\.noise_multiplier)?=\S+ ?")
_ANY_PRIVACY = re.compile(r"(?:^|(?<= ))privacy(?:\.\w+)*=\S+ ?")


@dataclass(frozen=True, kw_only=True, eq=False)
class Setting:
    """Runs that differ in their seeds alone, and what figures call them.

    Attributes:
        label: unique in its panel.
        series: what it differs in beside its budget; one line connects a series.
        budget: its epsilon in words, or what it has instead.
    """

    label: str
    series: str
    budget: str
    grouped: Grouped

    @property
    def runs(self) -> tuple[Run, ...]:
        """One a combination of seeds."""
        return self.grouped.runs

    @property
    def seeds(self) -> int:
        """How many independent values its interval is of."""
        return len(self.grouped.independent)

    @cached_property
    def epsilon(self) -> float | None:
        """The largest over its runs; None where one of them claims nothing."""
        return self.grouped.epsilon

    @cached_property
    def problem(self) -> str:
        """What may be compared: all but privacy, training and strategy."""
        return problem(self.runs[0])

    @cached_property
    def interval(self) -> Interval | None:
        """Of the headline metric over seeds."""
        return self.grouped.interval


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """Settings that one figure may show.

    Attributes:
        key: short, for ids and file names.
        title: what sets its runs apart from other panels'; empty where there is one only.
        settings: by epsilon, those without one last.
        headline: the metric's name in the tables.
    """

    key: str
    title: str
    settings: tuple[Setting, ...]
    headline: str
    higher_is_better: bool

    @property
    def metric(self) -> str:
        """The headline metric as a person would call it."""
        return self.headline.replace("_", " ")

    def best_first(self, settings: Iterable[Setting]) -> list[Setting]:
        """By their mean; those where nothing was measured are left out."""
        measured = [(setting.interval.mean, setting) for setting in settings if setting.interval]
        return [setting for _, setting in sorted(measured, key=lambda pair: pair[0], reverse=self.higher_is_better)]

    @cached_property
    def baselines(self) -> tuple[Setting, ...]:
        """Of each problem and each kind of setting without an epsilon the best one."""
        best: dict[tuple[str, str], Setting] = {}
        for setting in self.best_first(setting for setting in self.settings if setting.epsilon is None):
            best.setdefault((setting.problem, setting.budget), setting)
        return tuple(best.values())

    @property
    def runs(self) -> list[Run]:
        """All of them."""
        return [run for setting in self.settings for run in setting.runs]

    def foremost(self, most: int) -> Sequence[Setting]:
        """All settings, or, where they are more, those on the Pareto front and the best baselines."""
        if len(self.settings) <= most:
            return self.settings
        compared = {setting.label for setting in self.baselines}
        return thinned([s for s in self.settings if s.label in self.front or s.label in compared], most)

    @cached_property
    def front(self) -> frozenset[str]:
        """Labels of the settings on the Pareto front of epsilon, as it is said, and mean; each problem has its own."""
        problems: dict[str, list[Setting]] = {}
        for setting in self.settings:
            problems.setdefault(setting.problem, []).append(setting)
        found: set[str] = set()
        for settings in problems.values():
            points = [(_said(s.epsilon), s.interval.mean if s.interval else None) for s in settings]
            front = pareto_front(points, higher_is_better=self.higher_is_better)
            found.update(settings[index].label for index in front)
        return frozenset(found)


def panels(runs: Sequence[Run]) -> list[Panel]:
    """The groups of like runs, each a panel; that of most runs first."""
    groups = sorted(comparable(runs), key=lambda group: -len(group.runs))
    return [
        _panel(group.title, list(group.runs), "" if len(groups) == 1 else f"_{n}") for n, group in enumerate(groups, 1)
    ]


def each_run(panels: Sequence[Panel]) -> Iterator[tuple[Panel, Setting, Run]]:
    """Every run once, also a baseline that stands in several panels."""
    seen = set[Run]()
    for panel in panels:
        for setting in panel.settings:
            for run in setting.runs:
                if run not in seen:
                    seen.add(run)
                    yield panel, setting, run


def each_setting(panels: Sequence[Panel]) -> Iterator[Setting]:
    """Every setting once, as its first panel calls it."""
    firsts: dict[Run, Setting] = {}
    for _, setting, run in each_run(panels):
        firsts.setdefault(run, setting)
    return iter(dict.fromkeys(firsts.values()))


def said(epsilon: float | None) -> str:
    """Epsilon in three digits, never below its value."""
    return "none" if epsilon is None else upwards(epsilon, 3)


def _said(epsilon: float | None) -> float | None:
    """So that targets met to the last digit or not quite are one epsilon."""
    return None if epsilon is None else float(said(epsilon))


def thinned(items: Sequence[T], most: int) -> Sequence[T]:
    """At most so many, the first and the last among them, spread evenly."""
    if len(items) <= most:
        return items
    return [items[round(index * (len(items) - 1) / (most - 1))] for index in range(most)]


def _panel(title: str, runs: Sequence[Run], suffix: str) -> Panel:
    found = grouped(runs)
    found.sort(key=_place)
    labels: set[str] = set()
    settings = []
    for each in found:
        budget = _budget(each)
        series = (_ANY_PRIVACY if each.epsilon is None else _BUDGET).sub("", each.label).strip()
        series = "" if series == "all alike" else series
        label = f"{budget} ({series})" if series else budget
        if label in labels:  # of one epsilon, but not of one target
            label = f"{label} ({each.label})"
        labels.add(label)
        settings.append(Setting(label=label, series=series or "all", budget=budget, grouped=each))
    first = runs[0]
    return Panel(
        key=suffix,
        title=title.replace("_", " "),
        settings=tuple(settings),
        headline=first.headline,
        higher_is_better=first.higher_is_better,
    )


def _place(setting: Grouped) -> tuple[bool, float]:
    epsilon = setting.epsilon
    return epsilon is None, APART.index(_budget(setting)) if epsilon is None else epsilon


def _budget(setting: Grouped) -> str:
    if setting.epsilon is not None:
        return f"epsilon {said(setting.epsilon)}"
    if without_privacy(setting.runs[0]):
        return NO_PRIVACY
    return NO_NOISE if without_noise(setting.runs[0]) else NO_CLAIM
