"""The noise of a release: how much, of which law, and independent of what."""

import math
from collections.abc import Iterator

import numpy as np

from ..judging import P_VALUE, follows, same_spread, spread, strongest_correlation
from ..stage import ASIDE, COARSE, FINE, Stage, across, along, noise_of, of_server
from ..subject import Claim, KeysItsNoise, Round, Subject
from ..verdict import Finding, judged, not_applicable

_MANY, _FEW = (*range(1, 65), 1000, 10000), 400  # rounds, and coordinates of each
_RELEASERS = 4  # of those that release, so many are looked at
_OTHER_COINS = 2**32
_TOGETHER = "all parameters together"


def noise_std(subject: Subject) -> Finding:
    """Every parameter is noised with the claimed standard deviation, where updates are not zero and in each round."""
    stage = Stage(subject=subject, rows=FINE)
    first = claimed_noise(stage, [stage.ordinary(dense=1e-2)])
    if first.verdict == "fails" or subject.claim.target_quantile is not None:  # then it is for ``adaptive_noise``
        return first
    others = {told: claimed_noise(stage, rounds) for told, rounds in _other_rounds(stage)}
    if isinstance(subject, KeysItsNoise):
        others[f"in {len(_MANY)} rounds to round {max(_MANY)}"] = _claimed_in_many_rounds(subject, subject.claim)
    wrong = {told: finding for told, finding in others.items() if finding.verdict == "fails"}
    shown = "".join(f"; {told} {finding.evidence}" for told, finding in wrong.items())
    return judged(not wrong, first.evidence + (shown or f"; alike {', '.join(others)}"))


def _claimed_in_many_rounds(subject: KeysItsNoise, claim: Claim) -> Finding:
    """Coarser, since each has few coordinates."""
    p_values = {
        number: same_spread(noise, claim.noise_with(claim.cohort), law=claim.noise_law, of_differences=False)
        for number, noise in zip(_MANY, _noises_of_many_rounds(subject), strict=True)
    }
    worst = min(p_values, key=lambda number: p_values[number])
    return judged(p_values[worst] * len(_MANY) > P_VALUE, f"round {worst} has other noise (p = {p_values[worst]:.2g})")


def _other_rounds(stage: Stage) -> Iterator[tuple[str, list[Round]]]:
    yield from ((f"in round {number}", [stage.ordinary()] * number) for number in (2, 3))
    large = [across(1e6)] * stage.units
    yield "where all are large", [stage.round(large)]
    yield "where all are large everywhere", [stage.round(large, dense=1e6)]
    if of_server(stage.subject) and stage.units > 1:
        for arrive in sorted({1, max(1, stage.units // 3)}):
            yield f"with {arrive} of {stage.units} there", [stage.round(large, lost=range(arrive, stage.units))]
    if stage.most > stage.units:
        yield f"with {stage.most}", [stage.round([across(1e6)] * stage.most)]


def claimed_noise(stage: Stage, rounds: list[Round]) -> Finding:
    """Whether the last of these rounds is noised as claimed, parameter by parameter."""
    claim = stage.subject.claim
    expected = claim.noise_with(len(rounds[-1].reports))
    noises = stage.noises(rounds, seed=11)[:_RELEASERS]
    if expected == 0:
        return judged(not noises.any(), "nothing is released")
    parts = {name: noises[:, place] for name, place in stage.parameters.items() if name != "counter"}
    checked = {_TOGETHER: noises[:, : stage.rest.stop], **parts}
    p_values = {
        name: same_spread(part, expected, law=claim.noise_law, of_differences=True)
        for name, part in checked.items()
        if part.size
    }
    worst = min(p_values, key=lambda name: p_values[name])
    if p_values[worst] > P_VALUE:
        worst = _TOGETHER
    measured = checked[worst]
    return judged(
        p_values[worst] > P_VALUE,
        f"standard deviation {spread(measured):.6g} over {measured.size} coordinates ({worst}), "
        f"claimed {expected:.6g}; p = {p_values[worst]:.2g}",
    )


def noise_law(subject: Subject) -> Finding:
    """The noise follows the claimed law, its tails too."""
    stage = Stage(subject=subject, rows=FINE)
    claim = subject.claim
    samples = noise_of(stage.play([stage.ordinary()], seed=21)[0], stage)
    if not samples.any():
        return judged(False, f"no noise at all, claimed {claim.noise_law}")
    middle, tails = follows(samples, claim.noise_law)
    return judged(
        min(middle, tails) > P_VALUE,
        f"{claim.noise_law} claimed; over {samples.size} coordinates Kolmogorov-Smirnov p = {middle:.2g}, "
        f"of the largest of them p = {tails:.2g}",
    )


def noise_independent_coordinates(subject: Subject) -> Finding:
    """No part of a release repeats another part's noise: layers, rows, neighbours."""
    stage = Stage(subject=subject, rows=FINE)
    release = stage.play([stage.ordinary()], seed=31)[0]
    movement = release[min(release)]
    layer, other = (movement[stage.parameters[name]] for name in ("layer", "other"))
    shifted = [strongest_correlation([layer[:-lag], layer[lag:]]) for lag in (1, 100)]
    largest, p = min([strongest_correlation([layer, other]), *shifted], key=lambda found: found[1])
    return judged(
        p > P_VALUE,
        f"largest correlation of two layers, rows or neighbours {largest:.3g}, p = {p:.2g}",
    )


def noise_independent_rounds(subject: Subject) -> Finding:
    """No round's noise tells of another's."""
    stage = Stage(subject=subject, rows=FINE // 4)
    rounds = 6
    releases = stage.play([stage.ordinary()] * rounds, seed=41)
    largest, p = strongest_correlation([noise_of(release, stage) for release in releases])
    told = f"largest correlation of two of {rounds} rounds {largest:.3g}, p = {p:.2g}"
    if p <= P_VALUE or not isinstance(subject, KeysItsNoise):
        return judged(p > P_VALUE, told)
    many = _noises_of_many_rounds(subject)
    largest, p = strongest_correlation(many)
    return judged(p > P_VALUE, f"{told}; of {len(many)}, up to round {max(_MANY)}, {largest:.3g}, p = {p:.2g}")


def _noises_of_many_rounds(subject: KeysItsNoise) -> list[np.ndarray]:
    return [subject.noise(seed=43, round_number=number, attempt=0, client=0, size=_FEW) for number in _MANY]


def noise_independent_clients(subject: Subject) -> Finding:
    """No client's noise tells of another's."""
    if of_server(subject):
        return not_applicable("the server adds the one noise of a round")
    stage = Stage(subject=subject, rows=FINE // 4)
    asked = tuple(range(6))
    ordinary = stage.ordinary()
    reports = ordinary.reports[: len(asked)] if subject.claim.unit == "client" else ()
    release = stage.play([Round(asked=asked, reports=reports)], seed=51)[0]
    if len(release) < 2:
        return not_applicable("one client only")
    largest, p = strongest_correlation([moved[stage.rest] for moved in release.values()])
    return judged(p > P_VALUE, f"largest correlation of two of {len(release)} clients {largest:.3g}, p = {p:.2g}")


def seeds(subject: Subject) -> Finding:
    """Other coins, other noise: no two seeds, rounds or clients share any, those equal modulo 2^32 neither."""
    stage = Stage(subject=subject, rows=FINE // 4)
    told = "seeds 1, 2 and 1 + 2^32, rounds 1 and 2"
    vectors = []
    for seed in (1, 2, 1 + _OTHER_COINS):
        vectors += [noise_of(release, stage) for release in stage.play([stage.ordinary()] * 2, seed=seed)]
    if isinstance(subject, KeysItsNoise):
        told += ", rounds 3 and 3 + 2^32 of client 1"
        size = vectors[0].size
        for round_number, client in ((3, 1), (3 + _OTHER_COINS, 1)):
            key = {"round_number": round_number, "attempt": 0, "client": client}
            vectors.append(subject.noise(seed=1, **key, size=size))
    largest, p = strongest_correlation(vectors)
    return judged(p > P_VALUE, f"largest correlation of any two {largest:.3g}, p = {p:.2g} ({told})")


def dropouts(subject: Subject) -> Finding:
    """Where 40 of 100 clients drop out, noise is still as large as claimed beside what one client can move."""
    claim = subject.claim
    if not of_server(subject):
        return not_applicable("each client's release has all of its own noise")
    if claim.cohort < 2:
        return not_applicable("a cohort of one")
    arrive = max(1, round(0.6 * claim.cohort))
    away = range(arrive, claim.cohort)
    coarse, fine = (Stage(subject=subject, rows=rows) for rows in (COARSE, FINE))
    idle = [ASIDE] * (claim.cohort - 1)
    there, idle_too = (coarse.round([part, *idle], lost=away) for part in (along(1e6), ASIDE))
    largest = coarse.difference([there], [idle_too])
    noises = fine.noises([fine.round([ASIDE, *idle], lost=away)], seed=61)
    reached = spread(noises) / largest if largest else math.inf
    claimed = claim.noise_std / max(claim.sensitivity.get("zero_out", 0), claim.sensitivity.get("add_or_remove_one", 0))
    tolerance = 1 - 6 / math.sqrt(noises.size) - coarse.slack / max(largest, 1e-300)
    return judged(
        reached >= claimed * tolerance,
        f"with {arrive} of {claim.cohort} arrived, noise is {reached:.5g} times what one client moves; "
        f"claimed {claimed:.5g} times",
    )


def adaptive_noise(subject: Subject) -> Finding:
    """The clipping norm that clipped a round is the one that its noise is scaled to, as it rises and as it falls."""
    claim = subject.claim
    if claim.target_quantile is None:
        return not_applicable("the clipping norm is fixed")
    claimed = claim.noise_std / max(claim.sensitivity.values())
    unit_claim = max(claim.sensitivity, key=lambda relation: claim.sensitivity[relation])
    against = along(-1e6) if unit_claim == "replace_one" else along(0.0)
    found, stage = [], Stage(subject=subject, rows=FINE)
    for norm in (1e-6, 1e6):  # everybody below the clipping norm, or above: it falls, or rises
        busy: list[np.ndarray | None] = [along(norm, 1)] * (claim.cohort - 1)
        for before in ([], [stage.round([*busy, along(norm, 1)])] * 2):
            left, right = ([*before, stage.round([*busy, part])] for part in (along(1e6), against))
            largest = stage.difference(left, right)
            # of the same coins: the clipping norm rests on earlier rounds' noisy counts
            noise = noise_of(stage.play(left, seed=0)[-1], stage)
            found.append(spread(noise) / largest if largest else math.inf)
    off = max(found, key=lambda ratio: abs(math.log(ratio / claimed)) if 0 < ratio < math.inf else math.inf)
    return judged(
        abs(off / claimed - 1) < 0.02,
        f"noise is {min(found):.5g} to {max(found):.5g} times what one client moves, while the clipping norm falls and "
        f"rises; claimed {claimed:.5g} times",
    )
