"""How far one unit can move one release, whatever it sends and whoever else is there."""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from fedpriv.accounting.sampled_gaussian import Relation

from ..stage import ASIDE, COARSE, Stage, across, along, of_server
from ..subject import Round, Subject
from ..verdict import Finding, judged, not_applicable

_FEW = (1e-3, 1.0, 1e6, 1e30)
_LADDER = (*np.geomspace(1e-3, 1e6, 19), 1e30)
_JUST_ABOVE = (1.01, 1.2, 1.5, 2.0)  # times the norm that is claimed to be clipped to
_COMPANY = {"among idle others": ASIDE, "all aligned": across(1e6), "all opposed": across(-1e6)}
Part = np.ndarray | None
Neighbours = tuple[Sequence[Round], Sequence[Round], str]
_OTHER: dict[Relation, Callable[[float], Part]] = {
    "add_or_remove_one": lambda norm: None,
    "zero_out": lambda norm: along(0.0),
    "replace_one": lambda norm: across(-norm),
}


def sensitivity(relation: Relation) -> Callable[[Subject], Finding]:
    """The property of one neighbouring relation."""

    def measured(subject: Subject) -> Finding:
        if relation not in subject.claim.sensitivity:
            return not_applicable(f"nothing is claimed under {relation}")
        return worst_case(Stage(subject=subject, rows=COARSE), relation, thorough=True)

    return measured


def worst_case(stage: Stage, relation: Relation, *, thorough: bool) -> Finding:
    """The largest movement over norms, directions and company, beside the claim."""
    claimed, slack = stage.subject.claim.sensitivity[relation], stage.slack
    thorough &= stage.coins_repeat  # averages take their time
    neighbours = _thorough(stage, relation) if thorough else _along_planted(stage, relation, (1e6,))
    largest, where = max((stage.difference(left, right), told) for left, right, told in neighbours)
    how = "" if stage.coins_repeat else f", mean of plays with coins that do not repeat, to +-{slack:.3g}"
    return judged(
        largest <= claimed + slack,
        f"one unit moved a release by at most {largest:.6g} ({where}{how}); claimed {claimed:.6g}",
    )


def _thorough(stage: Stage, relation: Relation) -> Iterator[Neighbours]:
    """Every size, direction and company."""
    yield from _along_planted(stage, relation, _FEW)
    idle: list[Part] = [ASIDE] * (stage.most - 1)
    for norm in (*_LADDER, *(factor * _clipped_to(stage.subject) for factor in _JUST_ABOVE)):
        left, right = (stage.round([*idle[: stage.units - 1], part]) for part in (across(norm), _OTHER[relation](norm)))
        yield [left], [right], f"norm {norm:.4g}, among idle others"
    if stage.most > stage.units:
        left, right = (stage.round([*idle, part]) for part in (across(1e6), _OTHER[relation](1e6)))
        yield [left], [right], f"norm 1e+06, among {stage.most}"
    if stage.fixed:
        yield from _along_all(stage, relation)


def _along_planted(stage: Stage, relation: Relation, norms: Sequence[float]) -> Iterator[Neighbours]:
    """Two histories whose last rounds differ in the last unit, in few coordinates."""
    company = _COMPANY if stage.units > 1 else {"alone": ASIDE}
    for told, other in company.items():
        others: Sequence[Part] = [other] * (stage.units - 1)
        for norm in norms:
            left, right = (stage.round([*others, part]) for part in (across(norm), _OTHER[relation](norm)))
            yield [left], [right], f"norm {norm:g}, {told}"
    if stage.fixed:
        yield [stage.ordinary()] * 2 + [left], [stage.ordinary()] * 2 + [right], f"norm {norm:g}, in round 3"


def _along_all(stage: Stage, relation: Relation) -> Iterator[Neighbours]:
    """The same in all coordinates at once, as a trained update differs."""
    for norm in (0.5 * _clipped_to(stage.subject), 2 * _clipped_to(stage.subject), 1e6):
        for company in (0.0, 1e6):
            for planted in (0.0, norm):
                parts: list[Part] = [across(company) if company else ASIDE] * (stage.units - 1)
                last = stage.units - 1
                dense = dict.fromkeys(range(last), company)
                left = stage.round([*parts, across(planted)], dense={**dense, last: norm})
                against = _OTHER[relation](planted)
                opposite = -norm if relation == "replace_one" else 0.0
                right = stage.round([*parts, against], dense={**dense, last: opposite})
                yield [left], [right], f"norm {math.hypot(norm, planted):.4g}, in all coordinates"


def _clipped_to(subject: Subject) -> float:
    """The L2 norm that a unit's contribution is claimed to be clipped to, in the units of what it sends."""
    claim = subject.claim
    once = min(bound / (2 if relation == "replace_one" else 1) for relation, bound in claim.sensitivity.items())
    return once * (claim.cohort if of_server(subject) or claim.unit == "example" else 1)


def weighting(subject: Subject) -> Finding:
    """A unit's influence does not grow with the number of examples that it says it has."""
    if subject.claim.unit == "example":
        return not_applicable("an example has no weight of its own; clients' sizes are public")
    stage = Stage(subject=subject, rows=COARSE)
    idle = [ASIDE] * (stage.units - 1)
    moved = {
        count: _moved_along(stage, stage.round([*idle, along(1e6)], examples={stage.units - 1: count}))
        for count in (1, 9, 1000)
    }
    shown = ", ".join(f"{value:.6g} with {count}" for count, value in moved.items())
    same = max(moved.values()) - min(moved.values()) <= stage.slack + 1e-3 * moved[9]
    return judged(same, f"a client moved a release by {shown} examples, where each of the others has 9")


def denominator(subject: Subject) -> Finding:
    """A unit's influence does not depend on how many others arrive: the divisor is public."""
    if not of_server(subject):
        return not_applicable("each client's release is its own")
    stage = Stage(subject=subject, rows=COARSE)
    if stage.units < 2:
        return not_applicable("a cohort of one")
    idle: list[np.ndarray | None] = [ASIDE] * (stage.units - 1)
    away = range(1 + (stage.units - 1) // 2, stage.units)
    moved = {"all arrive": _moved_along(stage, stage.round([along(1e6), *idle]))}
    moved[f"{len(away)} of {stage.units} drop out"] = _moved_along(stage, stage.round([along(1e6), *idle], lost=away))
    if "add_or_remove_one" in subject.claim.sensitivity:
        fewer = stage.round([along(1e6), *idle[: away.start - 1]])
        moved[f"{away.start} are asked"] = _moved_along(stage, fewer)
    shown = ", ".join(f"{value:.6g} where {who}" for who, value in moved.items())
    same = max(moved.values()) - min(moved.values()) <= stage.slack + 1e-3 * max(moved.values())
    return judged(same, f"a client moved a release by {shown}")


def _moved_along(stage: Stage, round_: Round) -> float:
    return max(float(np.linalg.norm(moved)) for moved in stage.moved(round_).values())
