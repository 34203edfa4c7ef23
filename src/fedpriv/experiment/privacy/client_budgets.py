"""``privacy.client_budgets``: which clients allow less than ``privacy.epsilon``, and when they take part no more."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fedpriv.accounting.claims import noise_by_server
from fedpriv.accounting.client_budgets import ClientBudget, most_times
from fedpriv.accounting.ledger import ReleaseEntry, compositions
from fedpriv.accounting.sampling import EVERY_CLIENT
from fedpriv.config import Config
from fedpriv.data import FederatedData
from fedpriv.errors import ConfigError
from fedpriv.privacy import CohortSampler, LeavingSampler, Mechanism, Retirement, RetiringSampler
from fedpriv.privacy.sampling import participations
from fedpriv.streams import Streams

from .promise import Promise


def client_budgets(config: Config, data: FederatedData, streams: Streams) -> tuple[ClientBudget, ...]:
    """Clients by what they allow, those of ``privacy.epsilon`` last; none where all allow the same.

    A client belongs to the first rule that fits. Who belongs where counts as public.

    Args:
        streams: ``budgets`` draws who belongs to a share.

    Raises:
        ConfigError: a rule that fits no client.
    """
    rules, rest = config.privacy.client_budgets, data.population_ids
    if not rules:
        return ()
    found = []
    shuffled = np.argsort(streams.rng("budgets").random(data.num_clients), kind="stable")
    order = shuffled[np.isin(shuffled, rest)]
    for number, rule in enumerate(rules):
        named = _named(rule, data, order, where=f"privacy.client_budgets[{number}]")
        clients = np.intersect1d(rest, named)
        if not len(clients):
            raise ConfigError(
                f"privacy.client_budgets[{number}]: no client of the training population is left for {rule}; drop the "
                "rule, or mend it (the first rule that fits a client counts)."
            )
        found.append(ClientBudget.of(float(rule["epsilon"]), clients))
        rest = np.setdiff1d(rest, clients)
        order = order[~np.isin(order, clients)]
    if len(rest):
        found.append(ClientBudget.of(config.privacy.epsilon, rest))
    return tuple(found)


def _named(rule: Mapping[str, Any], data: FederatedData, order: np.ndarray, *, where: str) -> np.ndarray:
    """The clients that a rule speaks of."""
    if "share" in rule:
        # of all clients: two rules of half each are everybody
        return order[: round(rule["share"] * len(data.population_ids))]
    if "clients" in rule:
        named = np.unique(np.asarray(rule["clients"], dtype=np.int64))
        if len(named) and not 0 <= named[0] <= named[-1] < data.num_clients:
            raise ConfigError(f"{where}: clients are 0 to {data.num_clients - 1}, not {rule['clients']}.")
        return named
    column = data.groups.get(rule["column"])
    if column is None:
        known = ", ".join(sorted(data.groups)) or "none (name some with data.groups)"
        raise ConfigError(f"{where}: the data have no column {rule['column']}; there are {known}.")
    holders = np.repeat(np.arange(data.num_clients), data.clients.sizes)
    return np.unique(holders[column[data.indices] == rule["value"]])


def retirement(
    promise: Promise,
    mechanism: Mechanism,
    sampler: CohortSampler,
    *,
    paid: Sequence[ReleaseEntry],
    since: int,
    attempt: int,
) -> Retirement | None:
    """How often every client may take part after round ``since``, all of ``paid`` counted; None without such budgets.

    Args:
        mechanism, sampler: as if nobody retired.
    """
    setting = promise.setting
    if not setting.client_budgets:
        return None
    spent = compositions(promise.of(paid))
    left = np.zeros(setting.data.num_clients, dtype=np.int64)
    asked: dict[str, Any] = {"first_round": since + 1, "last_round": since + 1, "attempt": attempt}
    if noise_by_server(promise.mechanism):
        rounds = max(0, setting.config.rounds - since)
        once = mechanism.planned(np.zeros(0), **asked).get(EVERY_CLIENT, {})
        for position, budget in enumerate(setting.client_budgets):
            left[budget.ids] = most_times(
                once,
                spent=spent.get(position, {}),
                at_most=rounds,
                budget=_limit(budget),
                accounting=promise.accounting,
            )
        return Retirement(since=since, left=left)
    scheduled = participations(
        sampler, first_round=since + 1, last_round=setting.config.rounds, population=setting.data.num_clients
    )
    each = mechanism.planned((scheduled > 0).astype(np.int64), **asked)
    known: dict[Any, int] = {}
    for client, limit in _limits(setting.client_budgets):
        times = int(scheduled[client])
        once, before = each.get(client, {}), spent.get(client, {})
        key = (frozenset(once.items()), frozenset(before.items()), times, limit)
        if key not in known:
            known[key] = most_times(
                once, spent=before, at_most=times, budget=limit, accounting=promise.accounting
            )
        left[client] = known[key]
    return Retirement(since=since, left=left)


def _limit(budget: ClientBudget) -> float:
    return math.inf if budget.epsilon is None else budget.epsilon


def _limits(budgets: Sequence[ClientBudget]) -> Iterator[tuple[int, float]]:
    """(client id, epsilon)."""
    for budget in budgets:
        for client in budget.ids.tolist():
            yield client, _limit(budget)


def without_retired(
    sampler: CohortSampler, found: Retirement | None, promise: Promise
) -> CohortSampler:
    """As ``sampler``, but for those who have spent what they allow."""
    if found is None:
        return sampler
    setting = promise.setting
    if not noise_by_server(promise.mechanism):
        return RetiringSampler(sampler=sampler, most=found.left, since=found.since)
    budget_of = np.zeros(setting.data.num_clients, dtype=np.int64)
    for position, budget in enumerate(setting.client_budgets):
        budget_of[budget.ids] = position
    left = [found.left[budget.ids[0]] for budget in setting.client_budgets]
    return LeavingSampler(
        sampler=sampler,
        clients=setting.data.population_ids,
        budget_of=budget_of,
        last_rounds=found.since + np.array(left, dtype=np.int64),
    )
