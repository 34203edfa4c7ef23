"""What an experiment's privacy will cost, before it is trained: the schedule drawn, the noise found, epsilon stated."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from fedpriv.accounting.accountants import Epsilon
from fedpriv.accounting.budget import affordable_rounds
from fedpriv.accounting.claims import noise_by_server
from fedpriv.accounting.ledger import ReleaseEntry, compositions
from fedpriv.accounting.sampled_gaussian import Composition
from fedpriv.config import Config
from fedpriv.errors import BudgetExhaustedError
from fedpriv.experiment.assembly import Experiment
from fedpriv.privacy import Mechanism
from fedpriv.privacy.sampling import participations
from fedpriv.streams import Streams

_BUDGET_SLACK = 1e-9  # relative; a calibrated run shall not stop for the last bit of a float


def affordable(
    experiment: Experiment,
    mechanism: Mechanism,
    streams: Streams,
    *,
    paid: Iterable[ReleaseEntry],
    first_round: int,
) -> tuple[int, Epsilon]:
    """The last round that the budget allows, all of ``paid`` counted, and epsilon then.

    Args:
        streams: that the run draws its cohorts from.
        first_round: the first that is not paid for yet.
    """
    rounds, sampler = experiment.config.rounds, experiment.sampler(streams)

    def planned(last_round: int) -> dict[int, Composition]:
        counts = participations(
            sampler, first_round=first_round, last_round=last_round, population=experiment.data.num_clients
        )
        return mechanism.planned(counts, first_round=first_round, last_round=last_round)

    spent = compositions(paid)
    if not spent and not planned(rounds):
        return rounds, Epsilon(value=0.0, method="nothing released")
    return affordable_rounds(
        spent=spent,
        planned=planned,
        first_round=first_round,
        last_round=max(rounds, first_round - 1),
        budget=experiment.privacy.budget * (1 + _BUDGET_SLACK),
        accounting=experiment.privacy.accounting,
    )


def too_small(budget: float) -> str:
    """What to say of a budget that allows nothing."""
    return (
        f"privacy.epsilon={budget:g} does not allow even one round with this noise; use a larger "
        "privacy.noise_multiplier or a larger epsilon."
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
    terms, streams = experiment.privacy, experiment.streams(None)
    if config.privacy.mechanism == "none":
        return {"unit": None, "epsilon": None, "rounds": config.rounds, "notes": ["privacy=none protects nobody"]}
    noise = terms.noise_multipliers()
    mechanism = terms.mechanism(noise, streams)
    last_round, at_most = affordable(experiment, mechanism, streams, paid=(), first_round=1)
    if last_round < 1:
        raise BudgetExhaustedError(too_small(terms.budget))
    counts = participations(terms.sampler, first_round=1, last_round=last_round, population=experiment.data.num_clients)
    released = mechanism.planned(counts, first_round=1, last_round=last_round)
    worst = terms.accounting.worst(released)[1]
    used = np.array([release.noise_multiplier for one in released.values() for release in one])
    law = terms.sampler.law
    claimed = bool(released) and math.isfinite(at_most.value)
    notes = [] if claimed else ["nothing is released, or without noise: no guarantee will be stated"]
    stops = last_round < config.rounds
    if stops:
        notes.append(
            f"the budget stops the run after round {last_round} of {config.rounds}: leave privacy.noise_multiplier "
            "out to have it found, or allow a larger privacy.epsilon"
        )
    return {
        "unit": mechanism.unit,
        "epsilon": at_most.value if claimed else None,
        "target_epsilon": config.privacy.epsilon if math.isfinite(terms.budget) else None,
        "delta": terms.delta[0],
        "delta_rule": terms.delta[1],
        "noise_multiplier": float(used.min()) if len(used) else None,
        "noise_multiplier_max": float(used.max()) if len(used) else None,
        "population": terms.population,
        "clients": law.population,
        "cohort": law.cohort,
        "sampling": law.kind,
        "separation": law.separation,
        "cap": law.cap or None,
        "relation": terms.accounting.relation,
        "accountant": terms.accounting.accountant,
        "method": at_most.method,
        "rounds": last_round,
        "rounds_asked": config.rounds,
        "stops_early": stops,
        "worst_client": None if noise_by_server(config.privacy.mechanism) or not claimed else worst,
        "notes": notes,
    }
