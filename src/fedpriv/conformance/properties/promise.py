"""What an (epsilon, delta) that is promised is worth, for one release and for many."""

import math

from fedpriv.accounting.accountants import epsilon
from fedpriv.accounting.sampled_gaussian import SampledGaussian

from ..judging import spread
from ..stage import ASIDE, COARSE, FINE, Stage, along
from ..subject import PromisesEpsilon, Subject
from ..verdict import Finding, judged, not_applicable

ROUNDS = 10
_SURE = 6.0


def promised_epsilon(subject: Subject) -> Finding:
    """One release, by its measured noise and sensitivity, costs no more than is promised."""
    return _cost(subject, rounds=1)


def composition(subject: Subject) -> Finding:
    """All that one unit sends in ten rounds costs no more than is promised, unless it stops before."""
    return _cost(subject, rounds=ROUNDS)


def _cost(subject: Subject, *, rounds: int) -> Finding:
    promise = subject.promise if isinstance(subject, PromisesEpsilon) else None
    if promise is None:
        return not_applicable("it promises no epsilon")
    if subject.claim.noise_law != "gaussian":
        return not_applicable("the kit judges Gaussian noise only")
    fine, coarse = Stage(subject=subject, rows=FINE), Stage(subject=subject, rows=COARSE)
    relation = max(subject.claim.sensitivity, key=lambda name: subject.claim.sensitivity[name])
    idle, against = [ASIDE] * (coarse.units - 1), along(-1e6) if relation == "replace_one" else ASIDE
    moved = coarse.difference([coarse.round([*idle, along(1e6)])], [coarse.round([*idle, against])])
    noises = fine.noises([fine.ordinary()], seed=141)
    releases = sum(bool(release) for release in coarse.play([coarse.ordinary()] * rounds, seed=141))
    noise_multiplier = spread(noises[:, fine.rest]) / moved if moved else math.inf
    sure = noise_multiplier * (1 + _SURE / math.sqrt(2 * noises.size))
    cost, least = (_epsilon(z, releases, promise.delta) for z in (noise_multiplier, sure))
    return judged(
        least <= promise.epsilon,
        f"{releases} of {rounds} rounds released, noise {noise_multiplier:.5g} times what one unit moves: epsilon "
        f"{cost:.5g} at delta {promise.delta:g} under {relation}, promised {promise.epsilon:g}",
    )


def _epsilon(noise_multiplier: float, releases: int, delta: float) -> float:
    """Analytic Gaussian (Balle & Wang 2018) of noise in units of what moves, which is why no relation doubles it."""
    release = SampledGaussian(noise_multiplier=noise_multiplier, sampling="all", rate=1.0, population=0, cohort=0)
    return epsilon({release: releases}, delta=delta, relation="add_or_remove_one", accountant="pld").value
