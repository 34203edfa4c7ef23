"""Which settings the panel follows: one series from its most private setting to its least private one."""

from collections.abc import Sequence
from dataclasses import dataclass

from fedpriv.runs import Run

from ..attack_results import results
from ..by_setting import MOST_SETTINGS
from ..measured import empirical
from ..panels import NO_CLAIM, NO_NOISE, NO_PRIVACY, Panel, Setting, thinned

_AT = {NO_PRIVACY: "without privacy", NO_NOISE: "without noise", NO_CLAIM: "without a guarantee"}

_NONE = "none"


@dataclass(frozen=True, kw_only=True, eq=False)
class Course:
    """Settings of one mechanism that differ in their budgets alone, and what has none beside them.

    Attributes:
        panel: that they are of.
        series: what they have in common and others of the panel do not; "all" where there are no others.
        settings: the most private first; those without an epsilon last.
        others: series of the panel that something was measured of, too.
    """

    panel: Panel
    series: str
    settings: Sequence[Setting]
    others: Sequence[str]

    @property
    def runs(self) -> list[Run]:
        """All of them."""
        return [run for setting in self.settings for run in setting.runs]

    @property
    def private(self) -> list[Setting]:
        """Those with a guarantee."""
        return [setting for setting in self.settings if setting.epsilon is not None]


def at(setting: Setting) -> str:
    """A setting as the end of a sentence: at epsilon 8, without privacy."""
    return _AT.get(setting.budget, f"at {setting.budget}")


def examined(run: Run) -> bool:
    """Whether the panel could say more of it than that it ran: it was attacked or audited, or its data name groups."""
    return bool(results(run) or run.record.extra.get("fairness") or empirical(run) is not None)


def course(panel: Panel) -> Course | None:
    """The series of which most settings were attacked, audited or measured by group; of several the best one.

    None: there is none.
    """
    found = [each for each in _courses(panel) if any(map(examined, each.runs))]
    if not found:
        return None
    rank = {setting: n for n, setting in enumerate(panel.best_first(panel.settings))}

    def place(each: Course) -> tuple[int, int]:
        told = sum(any(map(examined, setting.runs)) for setting in each.settings)
        return -told, min((rank[setting] for setting in each.settings if setting in rank), default=len(rank))

    found.sort(key=place)
    first = found[0]
    others = [each.series for each in found[1:]]
    return Course(panel=panel, series=first.series, settings=first.settings, others=others)


def _courses(panel: Panel) -> list[Course]:
    private = [setting for setting in panel.settings if setting.epsilon is not None]
    apart = [setting for setting in panel.settings if setting.epsilon is None]
    kinds = dict.fromkeys((_mechanism(setting), setting.series) for setting in private or apart)
    several = len({mechanism for mechanism, _ in kinds}) > 1
    found = []
    for mechanism, series in kinds:
        own = [setting for setting in private if (_mechanism(setting), setting.series) == (mechanism, series)]
        settings = thinned([*_by_budget(own), *_apart(panel, apart, own, mechanism, series)], MOST_SETTINGS)
        said = "" if series == "all" else series
        name = f"privacy={mechanism} {said}".strip() if several else series
        found.append(Course(panel=panel, series=name, settings=settings, others=()))
    return found


def _apart(
    panel: Panel, apart: Sequence[Setting], own: Sequence[Setting], mechanism: str, series: str
) -> list[Setting]:
    """What has no epsilon and belongs beside ``own``: of its series, else the best of the same problem."""
    if not own:
        return [setting for setting in apart if (_mechanism(setting), setting.series) == (mechanism, series)]
    problems = {setting.problem for setting in own}
    beside = [s for s in apart if s.problem in problems and _mechanism(s) in (mechanism, _NONE)]
    alike = [setting for setting in beside if setting.series == series]
    known = {setting.budget for setting in alike}
    return [*_by_budget(alike), *(s for s in beside if s in panel.baselines and s.budget not in known)]


def _mechanism(setting: Setting) -> str:
    return str((setting.runs[0].config.get("privacy") or {}).get("mechanism", _NONE))


def _by_budget(settings: Sequence[Setting]) -> list[Setting]:
    """One of each epsilon: in one series those that differ in how it was met are as good as each other."""
    first: dict[str, Setting] = {}
    for setting in settings:
        first.setdefault(setting.budget, setting)
    return list(first.values())
