"""What was promised to whom, what that is worth in odds, and what it costs."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ..by_setting import Measure
from ..measured import empirical
from ..numbers import listed
from ..panels import Setting, said
from .course import Course, at
from .movement import movement
from .point import Point

_OBSERVERS = {
    "final_model": "whoever sees the final model only",
    "other_clients": "the other clients together",
    "curious_server": "a server that sees every client's update",
    "secure_aggregation_server": "a server that sees sums of updates only",
}
SEEN = {
    "final_model": "the final model",
    "global_models": "the global models",
    "sums": "sums of updates",
    "updates": "clients' updates",
}
"""What an attack sees, in words."""
_SEEING = {
    "final_model": "final_model",
    "global_models": "other_clients",
    "sums": "secure_aggregation_server",
    "updates": "curious_server",
}
"""What an attack sees, and the observer of the threat-model matrix who sees it."""
_UNITS = {"example": "one training example", "client": "one client with all its data"}


def privacy_points(course: Course) -> Iterator[Point]:
    """Statements, each computed from the runs of the course."""
    private = course.private
    if private:
        yield from _promises(private)
    else:
        yield Point("Promised to nobody.", "None of these runs has a guarantee.")
    if private and (apart := [setting for setting in course.settings if setting.epsilon is None]):
        yield Point("No promise.", f"Nothing is promised to anybody {listed([at(setting) for setting in apart])}.")
    if found := movement(course, headline(course), metric=course.panel.headline):
        yield Point(f"{course.panel.metric.capitalize()}:", f"{found.said()}.")
    audited = [(setting, bounds) for setting in course.settings if (bounds := _bounds(setting))]
    if audited:
        shown = [
            f"at least {max(bounds):.3f}, where {said(setting.epsilon)} is claimed"
            for setting, bounds in audited
            if setting.epsilon is not None
        ]
        shown += [f"at least {max(bounds):.3f} {at(setting)}" for setting, bounds in audited if setting.epsilon is None]
        yield Point(
            "Audited.",
            f"What the auditor's canary set shows is an epsilon of {listed(shown)} (the largest of the seeds).",
        )


def headline(course: Course) -> Measure:
    """The headline metric of a run of the course."""
    return lambda run: run.value


def largest_share_right(epsilon: float, delta: float) -> float:
    """How often a guess which of two neighbours was used can be right, both as likely: (e^eps + delta) / (1 + e^eps).

    Kairouz, Oh & Viswanath 2015 ("The Composition Theorem for Differential Privacy", ICML, theorem 2.1): false alarms
    and misses of every test satisfy FPR + e^eps FNR >= 1 - delta, and the same with both exchanged.
    """
    shrunk = math.exp(-epsilon)
    return min(1.0, (1 + delta * shrunk) / (1 + shrunk))


def costliest(setting: Setting) -> Mapping[str, Any]:
    """The guarantee of the run of largest epsilon."""
    claims = [run.guarantee for run in setting.runs if run.guarantee is not None]
    return max(claims, key=lambda claim: float(claim["epsilon"]))


def covers(setting: Setting, *, sees: str, level: str) -> bool:
    """Whether the guarantees of a setting hold against whoever sees this, for units of this level.

    Args:
        sees: ``final_model``, ``global_models``, ``sums`` or ``updates``.
        level: ``example`` or ``client``.
    """
    observer = _SEEING.get(sees)
    claims = [claim for run in setting.runs for claim in (run.guarantee, *run.also) if claim is not None]
    cells = [cell for claim in claims for cell in claim.get("threat_matrix") or []]
    return any((c["unit"], c["observer"]) == (level, observer) and c["epsilon"] is not None for c in cells)


def _promises(private: list[Setting]) -> Iterator[Point]:
    strict, loose = costliest(private[0]), costliest(private[-1])
    unit, ends = _UNITS[strict["unit"]], list(dict.fromkeys((private[0].budget, private[-1].budget)))
    deltas = list(dict.fromkeys(said(float(claim["delta"])) for claim in (strict, loose)))
    where = f"at {ends[0]}" if len(ends) == 1 else f"from {ends[0]} to {ends[1]}"
    yield Point("Promised", f"to {unit}, {where} (delta {' and '.join(deltas)}), against {strict['observer']}.")
    what = (
        f"which of two was used ({unit} or another)"
        if strict["relation"] == "replace_one"
        else f"whether {unit} was used"
    )
    odds = [
        f"{_percent_up(largest_share_right(float(claim['epsilon']), float(claim['delta'])))} at {budget}"
        for claim, budget in zip((strict, loose), ends, strict=False)
    ]
    yield Point(
        "In odds:",
        f"such an observer who knows all but {what}, and guesses where both are as likely, is right in at most "
        f"{' and '.join(odds)}. Tossing a coin: 50 %.",
    )
    for also in next((run.also for run in private[0].runs if run.also), ()):
        yield Point(
            "Beside it", f"to {_UNITS[also['unit']]}, epsilon {said(float(also['epsilon']))} at {private[0].budget}."
        )
    if whole := _against(strict):
        yield Point(f"At {private[0].budget}", whole)
    if any(run.guarantee and run.guarantee["simulation_only"] for setting in private for run in setting.runs):
        yield Point(
            "Simulation:",
            "the noise of some of these runs derives from a recorded seed. Whoever knows the seed can take it away: "
            "the promise is that of the same run with secret noise.",
        )


def _against(claim: Mapping[str, Any]) -> str:
    """Against whom the threat-model matrix has an epsilon for the unit, and against whom it has none."""
    cells = [cell for cell in claim.get("threat_matrix") or [] if cell["unit"] == claim["unit"]]
    names = {cell["observer"]: _OBSERVERS.get(cell["observer"], str(cell["observer"])) for cell in cells}
    held = [f"{names[c['observer']]} ({said(c['epsilon'])})" for c in cells if c["epsilon"] is not None]
    none = [names[cell["observer"]] for cell in cells if cell["epsilon"] is None]
    if not cells or not none:
        return ""
    first = f"it holds (with this epsilon) against {listed(held)}; " if held else ""
    return f"{first}there is no promise against {listed(none)}."


def _bounds(setting: Setting) -> list[float]:
    return [bound for run in setting.runs if (bound := empirical(run)) is not None]


def _percent_up(share: float) -> str:
    """Never below its value, with one decimal."""
    return f"{math.ceil(share * 1000) / 10:.1f} %"
