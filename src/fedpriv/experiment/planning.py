"""What an experiment's privacy will cost, before it is trained: the schedule drawn, the noise found, epsilon stated."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedpriv.accounting.accountants import Epsilon
from fedpriv.accounting.budget import affordable_rounds
from fedpriv.accounting.client_budgets import spent_by_budget, worst_of_all
from fedpriv.accounting.ledger import ReleaseEntry, compositions
from fedpriv.accounting.sampled_gaussian import Composition
from fedpriv.config import Config
from fedpriv.errors import BudgetExhaustedError
from fedpriv.experiment.assembly import Experiment
from fedpriv.experiment.privacy import PrivacyTerms, Promise
from fedpriv.privacy import CohortSampler, Mechanism, Retirement
from fedpriv.privacy.sampling import participations
from fedpriv.streams import Streams

_BUDGET_SLACK = 1e-9  # relative; a calibrated run shall not stop for the last bit of a float


def affordable(
    experiment: Experiment,
    mechanism: Mechanism,
    streams: Streams,
    *,
    retirement: Retirement | None,
    paid: Sequence[ReleaseEntry],
    trained: int,
    attempt: int,
) -> tuple[int, list[Epsilon]]:
    """The last round that every budget allows, all of ``paid`` counted, and at most each promise's epsilon then.

    Args:
        streams: that the run draws its cohorts from.
        retirement: of clients, as the mechanism has it; the run ends with the last of them.
        paid: the ledger; entries of this attempt serve the rounds after ``trained`` that they were written for.
    """
    sampler, promises = experiment.privacy.sampler(streams, retirement), experiment.privacy.promises
    last_round, found = experiment.config.rounds, []
    if retirement is not None:
        everybody = experiment.privacy.sampler(streams, None)
        last_round = _last_round_with_anybody(sampler, everybody, since=retirement.since, rounds=last_round)
    for promise, half in zip(promises, mechanism.halves, strict=True):
        mine = promise.of(paid)
        first_round = 1 + max([trained, *(entry.round for entry in mine if entry.attempt == attempt)])
        releasing = _Releasing(half, sampler, first_round, experiment.data.num_clients, attempt)
        affordable, epsilon = _affordable(promise, releasing, spent=compositions(mine))
        last_round = min(last_round, affordable)
        found.append(epsilon)
    return last_round, found


def _last_round_with_anybody(sampler: CohortSampler, everybody: CohortSampler, *, since: int, rounds: int) -> int:
    """Until when clients with budgets of their own take part: where nothing is drawn without them.

    Args:
        everybody: as ``sampler``, if nobody retired: cohorts that are empty by chance end no run.
    """
    if sampler.budgets(rounds) is not None:
        return max((number for number in range(since + 1, rounds + 1) if sampler.budgets(number)), default=since)
    last = max((number for number in range(since + 1, rounds + 1) if len(sampler.cohort(number))), default=since)
    missed = any(len(everybody.cohort(number)) for number in range(last + 1, rounds + 1))
    return last if missed else rounds


@dataclass(frozen=True)
class _Releasing:
    """What the rounds from ``first_round`` on will add."""

    mechanism: Mechanism
    sampler: CohortSampler
    first_round: int
    num_clients: int
    attempt: int

    def until(self, last_round: int) -> dict[int, Composition]:
        counts = participations(
            self.sampler, first_round=self.first_round, last_round=last_round, population=self.num_clients
        )
        return self.mechanism.planned(
            counts,
            first_round=self.first_round,
            last_round=last_round,
            attempt=self.attempt,
        )


def _affordable(
    promise: Promise, releasing: _Releasing, *, spent: dict[int, Composition]
) -> tuple[int, Epsilon]:
    last_round = max(promise.setting.config.rounds, releasing.first_round - 1)
    if not spent and not releasing.until(last_round):
        return last_round, Epsilon(value=0.0, method="nothing released")
    return affordable_rounds(
        spent=spent,
        planned=releasing.until,
        first_round=releasing.first_round,
        last_round=last_round,
        budget=promise.budget * (1 + _BUDGET_SLACK),
        worst=lambda released: _worst(promise, released)[0],
    )


def _worst(promise: Promise, released: Mapping[int, Composition]) -> tuple[Epsilon, int | None]:
    """The largest epsilon of one of the promise's units, and whose it is."""
    return worst_of_all(
        released,
        promise.setting.client_budgets,
        together=not promise.noise_by_clients,
        accounting=promise.accounting,
    )


def too_small(privacy: PrivacyTerms) -> str:
    """What to say of budgets that allow nothing."""
    asked = [promise.budget_key + f"={promise.budget:g}" for promise in privacy.promises if promise.budget < math.inf]
    asked += ["privacy.client_budgets"] * bool(privacy.setting.client_budgets)
    return (
        f"{' and '.join(asked)} {'do' if len(asked) > 1 else 'does'} not allow even one round with this noise; use a "
        "larger privacy.noise_multiplier or a larger epsilon."
    )


def plan_run(config: Config) -> dict[str, Any]:
    """What a run of this experiment will state, to the last digit; nothing is trained and nothing written.

    Returns:
        ``epsilon`` (None: no guarantee), ``delta``, ``noise_multiplier`` (the smallest) and ``noise_multiplier_max``,
        ``rounds`` that the budget allows and whether it stops the run early, the client that attains epsilon.

    Raises:
        InputError: as ``run``.
        BudgetExhaustedError: the budget does not allow one release.
    """
    experiment = Experiment.assemble(config)
    privacy, streams = experiment.privacy, experiment.streams(None)
    if config.privacy.mechanism == "none":
        return {"unit": None, "epsilon": None, "rounds": config.rounds, "notes": ["privacy=none protects nobody"]}
    noise = privacy.noise_multipliers()
    retirement = privacy.retirement(noise, streams, paid=(), since=0, attempt=0)
    mechanism = privacy.mechanism(noise, streams, retirement)
    last_round, found = affordable(
        experiment, mechanism, streams, retirement=retirement, paid=(), trained=0, attempt=0
    )
    if last_round < 1:
        raise BudgetExhaustedError(too_small(privacy))
    sampler = privacy.sampler(streams, retirement)
    law = sampler.law
    notes, stops = [], last_round < config.rounds
    if stops:
        notes.append(
            f"the budget stops the run after round {last_round} of {config.rounds}: leave privacy.noise_multiplier "
            "out to have it found, or allow a larger privacy.epsilon"
        )
    planned = [
        _planned(
            promise,
            _Releasing(half, sampler, 1, experiment.data.num_clients, 0).until(last_round),
            epsilon,
        )
        for promise, half, epsilon in zip(privacy.promises, mechanism.halves, found, strict=True)
    ]
    if not any(one["epsilon"] for one in planned):
        notes.append("nothing is released, or without noise: no guarantee will be stated")
    return {
        **planned[0],
        **({"also": planned[1:]} if len(planned) > 1 else {}),
        "clients": law.population,
        "cohort": law.cohort,
        "sampling": law.kind,
        "separation": law.separation,
        "cap": law.cap or None,
        "rounds": last_round,
        "rounds_asked": config.rounds,
        "stops_early": stops,
        "notes": notes,
    }


def _planned(promise: Promise, released: dict[int, Composition], at_most: Epsilon) -> dict[str, Any]:
    """What one unit will be told."""
    worst = _worst(promise, released)[1]
    used = np.array([release.noise_multiplier for one in released.values() for release in one])
    claimed = bool(released) and math.isfinite(at_most.value)
    return {
        "unit": promise.unit,
        "epsilon": at_most.value if claimed else None,
        "target_epsilon": promise.budget if math.isfinite(promise.budget) else None,
        "delta": promise.delta[0],
        "delta_rule": promise.delta[1],
        "noise_multiplier": float(used.min()) if len(used) else None,
        "noise_multiplier_max": float(used.max()) if len(used) else None,
        "population": promise.population,
        "relation": promise.accounting.relation,
        "accountant": promise.accounting.accountant,
        "method": at_most.method,
        "worst_client": worst if claimed and promise.noise_by_clients else None,
        **({"client_budgets": _by_budget(promise, released)} if promise.setting.client_budgets else {}),
    }


def _by_budget(promise: Promise, released: dict[int, Composition]) -> list[dict[str, Any]]:
    """What clients allow, how many they are, and what the worst of them will have spent."""
    budgets = promise.setting.client_budgets
    spent = spent_by_budget(
        released, budgets, together=not promise.noise_by_clients, accounting=promise.accounting
    )
    return [
        {"epsilon": budget.epsilon, "clients": len(budget.ids), "spent": value}
        for budget, value in zip(budgets, spent, strict=True)
    ]
