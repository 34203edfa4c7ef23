"""What leaves is paid for, also across a resume."""

import math
from collections.abc import Hashable

import numpy as np

from fedpriv.accounting.accountants import canonical, own_loss
from fedpriv.accounting.gaussian_dp import GaussianLoss
from fedpriv.accounting.ledger import ReleaseEntry, compositions
from fedpriv.accounting.release import Composition

from ..judging import P_VALUE, strongest_correlation
from ..stage import ASIDE, COARSE, Stage, along, of_server
from ..subject import SERVER, KeepsLedger, KeysItsNoise, SamplesCohorts, Script, StatesReleases, Subject
from ..verdict import Finding, judged, not_applicable

_ROUNDS, _ATTEMPTS, _COORDINATES = 50, 3, 400
_TURNS, _MOST_ROUNDS = 3, 24


def ledger(subject: Subject) -> Finding:
    """After crashes between release and checkpoint all is paid, with noise of its own, and entries say the same."""
    if not isinstance(subject, KeepsLedger):
        return not_applicable("it keeps no ledger: whatever a resumed run has released before is up to others")
    stage = Stage(subject=subject, rows=8 * COARSE)
    quiet, other = stage.ordinary(), stage.round([along(1.0)] * stage.units)
    before = Script(start=stage.start, rounds=(quiet, quiet))
    after = Script(start=stage.start, rounds=(other, quiet))  # the second round again, on other updates
    releases, entries = subject.play_resumed(before, after, seed=101)
    releaser = max(releases[0])
    seen = [release[releaser] for release in releases if releaser in release]
    distinct = len({movement.tobytes() for movement in seen})
    paid = len({entry.key for entry in entries if releaser == SERVER or releaser in _participants(entry)})
    lost, again = (movement[stage.rest] for movement in seen[1:3])
    shared, p = strongest_correlation([lost, again])
    same = bool(np.array_equal(seen[1], seen[2]))
    told = (
        f"{distinct} distinct releases, {paid} entries; the lost round and its repetition share noise of correlation "
        f"{shared:.3g} (p = {p:.2g})"
    )
    right = paid >= distinct and (same or p > P_VALUE)
    for check in (_later_attempts, _other_statements, _many_turns):
        if (wrong := check(subject)) is not None:
            told, right = f"{told}; {wrong}", False
    return judged(right, told)


def _later_attempts(subject: Subject) -> str | None:
    """Whether a round that is lost more than once is begun with other noise each time."""
    if not isinstance(subject, KeysItsNoise):
        return None
    noises = [
        subject.noise(seed=103, round_number=2, attempt=attempt, client=0, size=_COORDINATES)
        for attempt in range(_ATTEMPTS)
    ]
    shared, p = strongest_correlation(noises)
    return None if p > P_VALUE else f"of {_ATTEMPTS} attempts at one round two share noise of correlation {shared:.3g}"


def _other_statements(subject: Subject) -> str | None:
    """Whether entries say the same in every round, attempt and cohort: the claim is that of the first."""
    if not isinstance(subject, StatesReleases) or not isinstance(subject, SamplesCohorts):
        return None
    several = subject.claim.cohort if of_server(subject) else 2
    everybody = np.arange(min(several, subject.accounted_sampling.population), dtype=np.int64)
    cohorts = {"nobody": everybody[:0], "one client": everybody[:1], "many": everybody}
    if "add_or_remove_one" not in subject.claim.sensitivity:
        del cohorts["nobody"]
    first = None
    for number in range(1, _ROUNDS + 1):
        for attempt in range(_ATTEMPTS):
            for told, cohort in cohorts.items():
                entry = subject.stated(round_number=number, attempt=attempt, cohort=cohort)
                where = f"round {number}, attempt {attempt}, {told}"
                if entry is None:
                    if of_server(subject) or len(cohort):
                        return f"no entry is written of {where}"
                    continue
                if (entry.round, entry.attempt) != (number, attempt):
                    return f"the entry of {where} names round {entry.round}, attempt {entry.attempt}"
                stated = _terms(entry)
                if stated is not None and stated != (first := first or stated):
                    return f"the entry of {where} says other than that of round 1"
    return None


def _many_turns(subject: Subject) -> str | None:
    """Whether all that a client moves in several turns is paid: where rounds share noise, more than each alone."""
    if not isinstance(subject, StatesReleases) or not isinstance(subject, SamplesCohorts) or not of_server(subject):
        return None
    stage = Stage(subject=subject, rows=COARSE)
    if not stage.fixed or not stage.coins_repeat:
        return None
    law, others = subject.accounted_sampling, [ASIDE] * (stage.units - 1)
    numbers = range(1, min(law.separation * _TURNS, _MOST_ROUNDS) + 1)
    turns = [law.turn(number) == law.turn(1) for number in numbers]
    with_it, without = (
        [stage.round([part if turn else None, *others]) for turn in turns] for part in (along(1e6), ASIDE)
    )
    moved = [
        float(np.linalg.norm(there[SERVER] - not_there[SERVER]))
        for there, not_there in zip(stage.play(with_it, seed=0), stage.play(without, seed=0), strict=True)
    ]
    entries = (subject.stated(round_number=number, attempt=0, cohort=np.arange(1)) for number in numbers)
    paid = compositions(entry for entry in entries if entry is not None)
    claimed = max(_distance(composition) for composition in paid.values())
    reached = math.hypot(*moved) / subject.claim.noise_std
    if reached <= claimed * (1 + 1e-3):
        return None
    return f"in {sum(turns)} turns a client moves all releases by {reached:.4g} of their noise; {claimed:.4g} is paid"


def _distance(composition: Composition) -> float:
    """Of neighbours under zero-out, in standard deviations, for who is sampled every time."""
    loss = own_loss(canonical(composition), "zero_out")
    if isinstance(loss, GaussianLoss):
        return loss.mu
    return math.sqrt(sum(times / release.noise_multiplier**2 for release, times in composition.items()))


def _terms(entry: ReleaseEntry) -> Hashable:
    """What an entry charges the server's release for, or client 0; None where it is not there."""
    named = isinstance(entry.clients, str)
    charged = [
        (release.noise_multiplier, release.sampling, release.rate, release.population, release.cohort, steps)
        for client, release, steps in entry.releases()
        if named or client == 0
    ]
    terms = entry.noise_law, entry.sensitivity, entry.sampling, entry.population, entry.group is None
    numbers = (entry.noise_std, entry.noise_multiplier, entry.cohort) if named else ()
    return (*terms, *numbers, *charged) if charged else None


def _participants(entry: ReleaseEntry) -> set[int]:
    return {participant for participant, _, _ in entry.releases()}
