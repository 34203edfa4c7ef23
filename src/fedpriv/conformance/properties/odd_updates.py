"""What nobody plans for: nobody there, nothing sent, nothing sent that is a number, parameters of odd kinds."""

import math

import numpy as np

from ..judging import P_VALUE, same_spread, spread
from ..stage import ASIDE, COARSE, FINE, Stage, along, of_server
from ..subject import Round, Subject
from ..verdict import Finding, judged, not_applicable
from .noise import claimed_noise
from .sensitivity import worst_case


def empty_cohort(subject: Subject) -> Finding:
    """A round in which nobody contributes is released with all of its noise, or tells that nobody was there."""
    if not of_server(subject) and subject.claim.unit == "client":
        return not_applicable("a client that is not there releases nothing")
    stage = Stage(subject=subject, rows=FINE)
    everybody = stage.ordinary().asked
    rounds = {"none of those asked arrives": Round(asked=everybody, reports=())}
    if of_server(subject) and "add_or_remove_one" in subject.claim.sensitivity:
        rounds["nobody is asked"] = Round(asked=(), reports=())
    return _all_hold({told: claimed_noise(stage, [round_]) for told, round_ in rounds.items()})


def zero_update(subject: Subject) -> Finding:
    """Updates of zero are released with all of their noise."""
    stage = Stage(subject=subject, rows=FINE)
    return claimed_noise(stage, [stage.round([along(0.0)] * stage.units)])


def nan_update(subject: Subject) -> Finding:
    """A unit that sends NaN or infinity moves a release by no more than any other, and breaks none."""
    stage = Stage(subject=subject, rows=COARSE)
    idle = [ASIDE] * (stage.units - 1)
    without = [stage.round([*idle, ASIDE])]
    moved = {
        f"{value}": stage.difference([stage.round([*idle, along(value)])], without)
        for value in (math.nan, math.inf, -math.inf)
    }
    largest, claimed = max(moved.values()), max(subject.claim.sensitivity.values())
    shown = ", ".join(f"{value:.4g} by {name}" for name, value in moved.items())
    return judged(largest <= claimed + stage.slack, f"a release moved by {shown}; claimed at most {claimed:.4g}")


def scalar_parameters(subject: Subject) -> Finding:
    """Parameters without a dimension are clipped and noised like others."""
    claim, stage = subject.claim, Stage(subject=subject, rows=COARSE, scalars=True)
    relation = max(claim.sensitivity, key=lambda name: claim.sensitivity[name])
    clipped = worst_case(stage, relation, thorough=False)
    places = [place for name, place in stage.parameters.items() if stage.start[name].ndim == 0]
    pairs = [stage.noises([stage.ordinary()], seed=seed) for seed in range(80, 90, 2)]
    noises = np.concatenate([noise[:, place].ravel() for noise in pairs for place in places])
    expected = claim.noise_with(stage.units)
    p = same_spread(noises, expected, law=claim.noise_law, of_differences=True)
    return judged(
        clipped.verdict == "holds" and p > P_VALUE,
        f"0-d parameters alone: {clipped.evidence}; noise of standard deviation {spread(noises):.4g} over "
        f"{noises.size} of them, claimed {expected:.4g} (p = {p:.2g})",
    )


def integer_parameters(subject: Subject) -> Finding:
    """An integer among the parameters, a counter in a buffer, leaves clipped and noised, or not at all."""
    stage = Stage(subject=subject, rows=COARSE, integers=True)
    place = stage.parameters["counter"]
    quiet: list[np.ndarray | None] = [ASIDE] * stage.units
    target = stage.units - 1
    plays = [
        stage.play([stage.round(quiet, counted={target: counted})], seed=seed)[0]
        for seed in (91, 92)
        for counted in (0.0, 1000.0)
    ]
    releaser = max(plays[0])
    still, moved, again, _ = (play[releaser][place] for play in plays)
    change, noise = float(np.linalg.norm(moved - still)), float(np.abs(still - again).max())
    if any(play[releaser][stage.rest].any() != plays[0][releaser][stage.rest].any() for play in plays):
        return judged(False, "nothing is released where one unit changes an int64 parameter by 1000")
    if change == 0 and not noise:
        return judged(True, "an int64 parameter never moves")
    largest = max(subject.claim.sensitivity.values())
    return judged(
        noise > 0 and change <= largest + stage.slack + math.sqrt(3),  # rounding to integers
        f"an int64 parameter moved by {change:.4g} when one unit changed it by 1000 (claimed at most {largest:.4g}), "
        f"with {'noise' if noise else 'no noise'}",
    )


def _all_hold(findings: dict[str, Finding]) -> Finding:
    shown = "; ".join(f"{told}: {finding.evidence}" for told, finding in findings.items())
    return judged(all(finding.verdict == "holds" for finding in findings.values()), shown)
