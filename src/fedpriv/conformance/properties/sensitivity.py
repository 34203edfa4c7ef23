"""How far one unit can move one release, whatever it sends and whoever else is there."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from fedpriv.accounting.sampled_gaussian import Relation

from ..stage import ASIDE, COARSE, Stage, across, along, of_server
from ..subject import Round, Subject
from ..verdict import Finding, judged, not_applicable

NORMS = (1e-3, 1.0, 1e6, 1e30)
_COMPANY = {"among idle others": ASIDE, "all aligned": across(1e6), "all opposed": across(-1e6)}
Part = np.ndarray | None
_AGAINST: dict[Relation, Callable[[float], Part]] = {
    "add_or_remove_one": lambda norm: None,
    "zero_out": lambda norm: along(0.0),
    "replace_one": lambda norm: across(-norm),
}


def sensitivity(relation: Relation) -> Callable[[Subject], Finding]:
    """The property of one neighbouring relation."""

    def measured(subject: Subject) -> Finding:
        if relation not in subject.claim.sensitivity:
            return not_applicable(f"nothing is claimed under {relation}")
        return worst_case(Stage(subject=subject, rows=COARSE), relation, norms=NORMS)

    return measured


def worst_case(stage: Stage, relation: Relation, *, norms: Sequence[float]) -> Finding:
    """The largest movement over norms and company, beside the claim."""
    claimed, slack = stage.subject.claim.sensitivity[relation], stage.slack
    neighbours = _neighbours(stage, relation, norms if stage.coins_repeat else (1e6,))  # averages take their time
    largest, where = max((stage.difference(left, right), told) for left, right, told in neighbours)
    how = "" if stage.coins_repeat else f", mean of plays with coins that do not repeat, to +-{slack:.3g}"
    return judged(
        largest <= claimed + slack,
        f"one unit moved a release by at most {largest:.6g} ({where}{how}); claimed {claimed:.6g}",
    )


def _neighbours(
    stage: Stage, relation: Relation, norms: Sequence[float]
) -> Iterator[tuple[Sequence[Round], Sequence[Round], str]]:
    """Two histories whose last rounds differ in the last unit."""
    company = _COMPANY if stage.units > 1 else {"alone": ASIDE}
    for told, other in company.items():
        others: Sequence[Part] = [other] * (stage.units - 1)
        for norm in norms:
            left, right = (stage.round([*others, part]) for part in (across(norm), _AGAINST[relation](norm)))
            yield [left], [right], f"norm {norm:g}, {told}"
    if stage.subject.claim.target_quantile is None:
        yield [stage.ordinary()] * 2 + [left], [stage.ordinary()] * 2 + [right], f"norm {norm:g}, in round 3"


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
