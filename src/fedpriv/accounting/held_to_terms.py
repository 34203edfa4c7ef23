"""Whether a ledger holds what its run was started to do: what is stated of one is then true of the other."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import numpy as np

from fedpriv.errors import ConfigError

from .claims import CLAIMS, LEDGER_NAMES, is_correlated
from .client_budgets import check_lists
from .client_table import TabledClients
from .groups import Group
from .ledger import LAYER, ReleaseEntry, joint_multiplier
from .sampling import CohortSampling
from .terms import Terms

_SAME = 1e-9  # relative


def check_entries(entries: Sequence[ReleaseEntry], terms: Terms) -> None:
    """Raise ConfigError for entries that nothing here adds up, or that are not what the terms say."""
    kinds = {(e.mechanism, e.unit, e.noise_law, e.sensitivity, e.sampling) for e in entries}
    first = entries[0]
    if len(kinds) > 1:
        raise ConfigError("The ledger mixes mechanisms, norms or samplings, or has noise that nothing here adds up.")
    expected = CLAIMS.get(first.mechanism)
    if expected is not None and first.noise_law != expected.noise_law:
        raise ConfigError(f"The ledger's noise is {first.noise_law}: nothing here adds up such of {first.mechanism}.")
    if expected is None or first.mechanism not in LEDGER_NAMES[terms.mechanism] or first.unit != expected.unit:
        raise ConfigError(
            f"The ledger's entries are {first.mechanism}'s for each {first.unit}, but the run was started with "
            f"privacy={terms.mechanism}."
        )
    steps = terms.noisy_steps_per_round
    columns = {id(e.clients.table): e.clients.table for e in entries if isinstance(e.clients, TabledClients)}
    listed = [e for e in entries if not isinstance(e.clients, TabledClients)]
    for columns_of in (*columns.values(), *listed):
        _check_columns(columns_of, sensitivity=first.sensitivity, most_steps=steps["max"])
    for entry in entries:
        _check_parts(entry)
        _check_layers(entry, first)
        _check_group(entry, correlated=is_correlated(terms.mechanism))
        _check_budgets(entry, terms, central=expected.trust_model == "central")
    if terms.client_budgets:
        check_lists(terms.client_budgets, num_clients=terms.num_clients)
        _check_nobody_comes_back(entries)
    if is_correlated(terms.mechanism):
        _check_groups(entries)
    if expected.trust_model == "distributed":
        _check_shares(entries, terms)
    if expected.trust_model == "central":
        _check_cohorts(entries, CohortSampling(**_law(terms)))


def _check_parts(entry: ReleaseEntry) -> None:
    if not entry.parts:
        return
    if len({part.name for part in entry.parts}) < len(entry.parts):
        raise ConfigError(f"The ledger's round {entry.round} names a part twice.")
    if not math.isclose(joint_multiplier(entry.parts), cast(float, entry.noise_multiplier), rel_tol=_SAME):
        raise ConfigError(f"The ledger's round {entry.round} has another noise_multiplier than its parts together.")


def _check_layers(entry: ReleaseEntry, first: ReleaseEntry) -> None:
    """Norms of layers are those of all rounds, and no longer together than what the noise is for."""
    layers = {key: value for key, value in entry.details if key.startswith(LAYER)}
    if layers != {key: value for key, value in first.details if key.startswith(LAYER)}:
        raise ConfigError(f"The ledger's round {entry.round} clips layers to other norms than round {first.round}.")
    if layers and math.hypot(*layers.values()) > entry.sensitivity * (1 + _SAME):
        raise ConfigError(f"The ledger's round {entry.round} clips layers to more than its sensitivity, together.")


def _check_group(entry: ReleaseEntry, *, correlated: bool) -> None:
    """Rounds that share noise say which, and no client could be in two of them that overlap."""
    details = dict(entry.details)
    if not correlated:
        if entry.group is not None or {"first_round", "last_round", "bands"} & set(details):
            raise ConfigError("The ledger has rounds that share their noise, which nothing here adds up.")
        return
    first, last = details.get("first_round", 0), details.get("last_round", 0)
    named = Group(first_round=cast(int, first), last_round=cast(int, last), attempt=entry.attempt).name
    if not 1 <= first <= entry.round <= last or entry.group != named:
        raise ConfigError(f"The ledger's round {entry.round} names a group that it cannot be of: {entry.group}.")
    separation = 1 if entry.turn is None else entry.turn[1]
    if entry.noise_law == "gaussian_banded" and not 1 <= details.get("bands", 0) <= separation:
        raise ConfigError(
            f"The ledger's round {entry.round} shares its noise with {details.get('bands', 0):g} rounds, in which a "
            f"client of turns {separation} apart could be more than once."
        )


def _check_budgets(entry: ReleaseEntry, terms: Terms, *, central: bool) -> None:
    """A round says whose budgets pay for it, if and only if clients have some and the server adds the noise."""
    if (entry.budgets is not None) != (central and bool(terms.client_budgets)):
        raise ConfigError(f"The ledger's round {entry.round} does not say whose budgets pay for it, or says too much.")
    named = entry.budgets
    if named is not None and (not named or named != tuple(sorted(set(named)))):
        raise ConfigError(f"The ledger's round {entry.round} names budgets that nothing here adds up.")


def _check_nobody_comes_back(entries: Sequence[ReleaseEntry]) -> None:
    """Budgets that no longer pay for a round pay for no later one of the attempt."""
    for attempt in {entry.attempt for entry in entries}:
        rounds = sorted((e for e in entries if e.attempt == attempt and e.budgets is not None), key=lambda e: e.round)
        for earlier, later in pairwise(rounds):
            if not set(later.budgets or ()) <= set(earlier.budgets or ()):
                raise ConfigError(f"In the ledger's round {later.round} clients come back who had retired before.")


def _check_shares(entries: Sequence[ReleaseEntry], terms: Terms) -> None:
    """Every round is a sum of one share for each client of the cohort, and the same kind of sum."""
    if len({entry.details for entry in entries}) > 1:
        raise ConfigError("The ledger's rounds are secure sums of different kinds.")
    shares = dict(entries[0].details).get("shares")
    for entry in entries:
        if entry.cohort != shares or entry.cohort != terms.sampling_run["cohorts"]["cohort"]:
            raise ConfigError(f"The ledger's round {entry.round} has {entry.cohort} clients, but {shares} shares.")


def _check_groups(entries: Sequence[ReleaseEntry]) -> None:
    """No round shares its noise with two groups, or has another amount of it."""
    if len({entry.noise_multiplier for entry in entries}) > 1:
        raise ConfigError("The ledger's rounds share their noise, but have different amounts of it.")
    spans = {
        (entry.attempt, details["first_round"], details["last_round"])
        for entry in entries
        for details in [dict(entry.details)]
    }
    for (attempt, _, last), (other, first, _) in pairwise(sorted(spans)):
        if attempt == other and first <= last:
            raise ConfigError(f"The ledger's rounds of attempt {attempt} share their noise with two groups.")


def _law(terms: Terms) -> dict[str, Any]:
    cohorts = terms.sampling_run["cohorts"]
    return {key: cohorts[key] for key in ("kind", "population", "cohort", "separation", "cap")}


def _check_columns(columns: object, *, sensitivity: float, most_steps: int) -> None:
    """Of an entry or of a client table: one number said twice is the same number, and something was released."""
    multiplier, std, steps = (
        np.atleast_1d(np.asarray(getattr(columns, name), dtype=np.float64))
        for name in ("noise_multiplier", "noise_std", "steps")
    )
    if not np.allclose(multiplier * sensitivity, std, rtol=_SAME, atol=0, equal_nan=True):
        raise ConfigError("The ledger's noise_std is not its noise_multiplier times its sensitivity.")
    if (steps < 1).any() or (steps > most_steps).any():
        raise ConfigError(f"The ledger has a release of no step, or of more than the {most_steps} of a round.")


def _check_cohorts(entries: Sequence[ReleaseEntry], law: CohortSampling) -> None:
    expected = law.release(1.0)
    if entries[0].sampling != law.kind:
        raise ConfigError(f"The ledger's sampling is {entries[0].sampling}, but the run was started with {law.kind}.")
    for entry in entries:
        turn = None if law.separation == 1 else (law.turn(entry.round), law.separation)
        drawn = entry.population, entry.cohort, entry.turn, entry.rate
        if drawn != (law.population, expected.cohort, turn, law.rate):
            raise ConfigError(
                f"The ledger's round {entry.round} has population, cohort, turn and rate {drawn}, but the run was "
                f"started with {law}."
            )
