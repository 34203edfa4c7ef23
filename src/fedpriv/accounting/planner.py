"""Privacy before there is a run: of epsilon, noise, rounds and cohort, the one that is not given.

Numbers only: no data, no training. Every epsilon of an answer was evaluated by the accountant that it names; only the
table of what is feasible around it may come from coarser bounds, and says so.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Literal, final

from fedpriv.accounting.accountants import epsilon, rough_epsilon
from fedpriv.accounting.budget import Accounting
from fedpriv.accounting.calibration import calibrate
from fedpriv.accounting.conventions import choose_accounting, choose_delta
from fedpriv.accounting.sampled_gaussian import Accountant, Composition, Relation
from fedpriv.accounting.sampling import ACCOUNTED_AS, CohortKind, CohortSampling, cohort_sampling
from fedpriv.accounting.search import COUNTED, largest_within
from fedpriv.errors import ConfigError

Unit = Literal["client", "example"]

KEYS: Mapping[Unit, tuple[str, str, str]] = {
    "client": ("population", "cohort", "rounds"),
    "example": ("num_examples", "batch_size", "steps"),
}
"""What units, those in one release, and releases are called."""

_MOST_RELEASES = 10_000_000
_FAR = 0.95  # of the target: what stays below it is not what limits the answer
_EVERYBODY: tuple[CohortKind, ...] = ("all", "round_robin")
_NO_GUARANTEE_ABOVE = 1e6  # no noise worth the name


@final
@dataclass(frozen=True, kw_only=True)
class PlanRequest:
    """A question: exactly one of cohort, rounds, noise multiplier and epsilon is None.

    At ``example`` level units are one client's examples, a cohort is a Poisson batch and a round one DP-SGD step.

    Args:
        population: protected units.
        cohort: expected units in one release; may be None beside another where ``sampling`` takes everybody.
        rounds: releases.
        noise_multiplier: noise standard deviation / clipping norm.
        epsilon: the budget.
        delta: None for population^-1.1.
        parameters: trained parameters, for the signal-to-noise ratio; None to leave it out.
        deployment_population, deployment_cohort: of a deployment that this simulates; both or neither.
    """

    unit: Unit
    population: int
    cohort: float | None
    rounds: int | None
    noise_multiplier: float | None
    epsilon: float | None
    delta: float | None
    accept_weak_delta: bool
    sampling: CohortKind
    separation: int | None
    cap: int | None
    relation: Relation | Literal["auto"]
    accountant: Accountant | Literal["auto"]
    parameters: int | None
    deployment_population: int | None
    deployment_cohort: int | None

    @property
    def takes_everybody(self) -> bool:
        """Everybody whose turn it is: the cohort follows, and is not asked for."""
        return self.sampling in _EVERYBODY


@final
@dataclass(frozen=True, kw_only=True)
class Signal:
    """The most that all agreeing updates can stand out from the noise, in L2 norm, in one release.

    Args:
        parameters: trained parameters d.
        most: cohort / (noise multiplier x sqrt(d)): every update at the clipping norm, all in one direction. Real
            updates disagree, and reach a fraction of it.
        cohort_for_one: cohort at which that is 1, with the same noise multiplier.
    """

    parameters: int
    most: float
    cohort_for_one: int


@final
@dataclass(frozen=True, kw_only=True)
class Deployment:
    """What a deployment would earn with the same clipping and rounds: an extrapolation, never a run's guarantee.

    Args:
        delta: as given where that is below 1 / population, else population^-1.1.
        same_noise_multiplier: epsilon with the noise multiplier of the plan: the mean of a larger cohort is less noisy.
        scaled_noise_multiplier: of equal noise on the mean: noise multiplier x deployment cohort / cohort, so that the
            simulated model is as noisy as the deployed one.
        scaled: epsilon with it.
    """

    population: int
    cohort: int
    rate: float
    delta: float
    noise_multiplier: float
    same_noise_multiplier: float
    scaled_noise_multiplier: float
    scaled: float


@final
@dataclass(frozen=True, kw_only=True)
class Plan:
    """A request with its answer.

    Args:
        solved_for: the field that was found.
        target: epsilon as asked for; None where epsilon was found.
        epsilon: of the plan, an upper bound by ``method``, at most the target.
        notes: what a reader must know.
    """

    request: PlanRequest
    law: CohortSampling
    accounting: Accounting
    delta_rule: str
    solved_for: str
    cohort: float
    rounds: int
    noise_multiplier: float
    target: float | None
    epsilon: float
    method: str
    notes: tuple[str, ...]

    @property
    def signal(self) -> Signal | None:
        d = self.request.parameters
        if d is None:
            return None
        noise = self.noise_multiplier * math.sqrt(d)
        summands = min(self.cohort, self.law.cap) if self.law.cap else self.cohort
        return Signal(parameters=d, most=summands / noise, cohort_for_one=math.ceil(noise))

    @cached_property
    def deployment(self) -> Deployment | None:
        """Priced only where it is asked for."""
        request = self.request
        if request.deployment_population is None or request.deployment_cohort is None:
            return None
        scale = request.deployment_cohort / self.cohort
        follows = request.sampling == "all" or (request.sampling == "round_robin" and request.separation is not None)
        deployed = replace(
            request,
            population=request.deployment_population,
            delta=request.delta if (request.delta or 1) < 1 / request.deployment_population else None,
            cohort=None if follows else request.deployment_cohort,
            cap=None if request.cap is None else max(1, round(request.cap * scale)),
        )
        law, (delta, _) = _law(deployed, deployed.cohort), _delta(deployed)
        accounting = replace(self.accounting, delta=delta)

        def earned(noise_multiplier: float) -> float:
            return _judged(law, noise_multiplier, self.rounds, accounting)[0]

        return Deployment(
            population=law.population,
            cohort=request.deployment_cohort,
            rate=law.rate,
            delta=delta,
            noise_multiplier=self.noise_multiplier,
            same_noise_multiplier=earned(self.noise_multiplier),
            scaled_noise_multiplier=self.noise_multiplier * scale,
            scaled=earned(self.noise_multiplier * scale),
        )

    def to_json(self) -> dict[str, Any]:
        """Every input, resolved default and answer, under the keys of the command line."""
        units, summed, releases = KEYS[self.request.unit]
        found: dict[str, Any] = {
            "unit": self.request.unit,
            "epsilon": self.epsilon,
            "noise_multiplier": self.noise_multiplier,
            "delta": self.accounting.delta,
            "delta_rule": self.delta_rule,
            "solved_for": {"cohort": summed, "rounds": releases}.get(self.solved_for, self.solved_for),
            units: self.request.population,
            summed: int(self.cohort) if self.cohort == int(self.cohort) else self.cohort,
            releases: self.rounds,
            "sampling": self.law.kind,
            "rate": self.law.rate,
            "separation": self.law.separation,
            "cap": self.law.cap or None,
            "relation": self.accounting.relation,
            "accountant": self.accounting.accountant,
            "method": self.method,
            "target_epsilon": self.target,
        }
        if (signal := self.signal) is not None:
            found["signal_to_noise"] = {
                "parameters": signal.parameters,
                "most": signal.most,
                f"{summed}_for_one": signal.cohort_for_one,
            }
        if (deployment := self.deployment) is not None:
            found["deployment"] = {
                "extrapolation": "what a deployment would earn in as many rounds; not a guarantee of any run",
                "population": deployment.population,
                "cohort": deployment.cohort,
                "rate": deployment.rate,
                "delta": deployment.delta,
                "same_noise_multiplier": {
                    "noise_multiplier": deployment.noise_multiplier,
                    "epsilon": deployment.same_noise_multiplier,
                },
                "same_noise_on_the_mean": {
                    "noise_multiplier": deployment.scaled_noise_multiplier,
                    "epsilon": deployment.scaled,
                },
            }
        return {**found, "notes": list(self.notes)}

    def around(self, *, noise_multipliers: Sequence[float], rounds: Sequence[int]) -> list[list[float]]:
        """Upper bounds on epsilon, a row for each number of rounds, by ``rough_epsilon``."""
        return [[self._rough(z, times) for z in noise_multipliers] for times in rounds]

    def _rough(self, noise_multiplier: float, rounds: int) -> float:
        released = _released(self.law, noise_multiplier, rounds)
        accounting = self.accounting
        return rough_epsilon(
            released, delta=accounting.delta, relation=accounting.relation, accountant=accounting.accountant
        ).value


def make_plan(request: PlanRequest) -> Plan:
    """The answer to a request.

    Raises:
        ConfigError: nothing or more than one thing to be found, a value outside its range, a combination that no
            accountant judges, a budget that no noise or not even one round can meet.
    """
    solved_for = _unknown(request)
    _check_numbers(request)
    delta, rule = _delta(request)
    accounting = choose_accounting(
        delta=delta,
        sampling=ACCOUNTED_AS[request.sampling],
        relation=request.relation,
        accountant=request.accountant,
    )
    law = _law(request, 1 if solved_for == "cohort" else request.cohort)
    noise, rounds, notes = request.noise_multiplier, request.rounds, list[str]()
    if solved_for == "noise_multiplier":
        noise = calibrate(
            target_epsilon=_known(request.epsilon),
            release_at=partial(_released, law, rounds=int(_known(rounds))),
            delta=delta,
            relation=accounting.relation,
            accountant=accounting.accountant,
        )
    elif solved_for == "rounds":
        rounds = largest_within(
            lambda times: _released(law, _known(noise), times),
            target=_known(request.epsilon),
            most=_MOST_RELEASES,
            growth=0.5,
            accounting=accounting,
        )
        if rounds == _MOST_RELEASES:
            notes.append(f"or more {KEYS[request.unit][2]}: none above {_MOST_RELEASES:,} were tried")
        elif rounds >= COUNTED and _judged(law, _known(noise), rounds, accounting)[0] < _FAR * _known(request.epsilon):
            notes.append(
                f"with more {KEYS[request.unit][2]} delta is too small for {accounting.accountant}: its "
                "bound leaps above epsilon, though more may be affordable"
            )
    elif solved_for == "cohort":
        most = request.population // (request.separation or 1)
        cohort = largest_within(
            lambda size: _released(_law(request, size), _known(noise), int(_known(rounds))),
            target=_known(request.epsilon),
            most=most,
            growth=1.0,
            accounting=accounting,
        )
        law = _law(request, cohort)
        if law.rate == 1:
            notes.append("everybody in every round stays within epsilon: sampling is not needed for it")
    value, method = _judged(law, _known(noise), int(_known(rounds)), accounting)
    if not value < _NO_GUARANTEE_ABOVE:
        raise ConfigError(
            f"noise_multiplier={noise:g} protects nothing over so many {KEYS[request.unit][2]}: use more noise."
        )
    stated = law.cohort
    if request.sampling == "all" and request.cohort not in (None, law.cohort):
        stated = _known(request.cohort)
        notes.append(
            f"sampling={request.sampling}: whoever the {stated:g} are, no chance of being left out is counted, so "
            "epsilon is that of a client in every round"
        )
    return Plan(
        request=request,
        law=law,
        accounting=accounting,
        delta_rule=rule,
        solved_for=solved_for,
        cohort=stated,
        rounds=int(_known(rounds)),
        noise_multiplier=_known(noise),
        target=request.epsilon,
        epsilon=value,
        method=method,
        notes=tuple(notes),
    )


# --- a request ------------------------------------------------------------------------------------------------


def _unknown(request: PlanRequest) -> str:
    _, summed, releases = KEYS[request.unit]
    asked = {
        "epsilon": ("epsilon", request.epsilon),
        "noise_multiplier": ("noise_multiplier", request.noise_multiplier),
        "rounds": (releases, request.rounds),
        "cohort": (summed, 0 if request.takes_everybody else request.cohort),
    }
    missing = [field for field, (_, value) in asked.items() if value is None]
    names = ", ".join(key for field, (key, _) in asked.items() if field != "cohort" or not request.takes_everybody)
    if not missing:
        raise ConfigError(f"Nothing is left to be found: leave out one of {names}.")
    if len(missing) > 1:
        told = ", ".join(asked[field][0] for field in missing)
        raise ConfigError(f"Give all but one of {names}; missing: {told}.")
    return missing[0]


def _check_numbers(request: PlanRequest) -> None:
    units, summed, releases = KEYS[request.unit]
    counts = {
        units: request.population,
        releases: request.rounds,
        "separation": request.separation,
        "cap": request.cap,
        "parameters": request.parameters,
        "deployment_population": request.deployment_population,
        "deployment_cohort": request.deployment_cohort,
    }
    for key, whole in counts.items():
        if whole is not None and whole < 1:
            raise ConfigError(f"{key}={whole} must be at least 1.")
    for key, number in {
        summed: request.cohort,
        "noise_multiplier": request.noise_multiplier,
        "epsilon": request.epsilon,
        "delta": request.delta,
    }.items():
        if number is not None and not 0 < number < math.inf:
            raise ConfigError(f"{key}={number:g} must be a positive number.")
    if request.rounds is not None and request.rounds > _MOST_RELEASES:
        raise ConfigError(f"{releases}={request.rounds} is beyond what is planned: at most {_MOST_RELEASES:,}.")
    if (request.deployment_population is None) != (request.deployment_cohort is None):
        raise ConfigError("A deployment is deployment_population= and deployment_cohort= together: give both.")
    if request.unit == "example" and (request.sampling != "poisson" or request.deployment_population is not None):
        raise ConfigError(
            "unit=example plans the Poisson batches of one client: sampling and deployment belong to unit=client."
        )


def _law(request: PlanRequest, cohort: float | None) -> CohortSampling:
    """``sampling=all`` needs no cohort: whoever is there, nothing amplifies."""
    _, summed, _ = KEYS[request.unit]
    if cohort is not None and cohort > request.population:
        raise ConfigError(
            f"{summed}={cohort:g} cannot be drawn from {request.population}: use at most {request.population}."
        )
    return cohort_sampling(
        kind=request.sampling,
        population=request.population,
        cohort=None if request.sampling == "all" else cohort,
        separation=request.separation,
        cap=request.cap,
    )


def _delta(request: PlanRequest) -> tuple[float, str]:
    return choose_delta(request.delta, population=request.population, accept_weak=request.accept_weak_delta)


def _known(value: float | None) -> float:
    if value is None:
        raise ConfigError("A number that this plan needs is missing.")
    return value


# --- what it costs --------------------------------------------------------------------------------------------


def _released(law: CohortSampling, noise_multiplier: float, rounds: int) -> Composition:
    """All releases of the client with the most turns."""
    return {law.release(noise_multiplier): law.most_turns(rounds)}


def _judged(law: CohortSampling, noise_multiplier: float, rounds: int, accounting: Accounting) -> tuple[float, str]:
    found = epsilon(
        _released(law, noise_multiplier, rounds),
        delta=accounting.delta,
        relation=accounting.relation,
        accountant=accounting.accountant,
    )
    return found.value, found.method
