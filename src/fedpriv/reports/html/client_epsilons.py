"""Each client's own epsilon, from the ledger."""

from collections.abc import Mapping
from typing import Any

from fedpriv.accounting.accountants import canonical, fast_upper_bound
from fedpriv.accounting.boxes import at_most
from fedpriv.accounting.client_budgets import ClientBudget
from fedpriv.errors import FedprivError
from fedpriv.runs import Run

_MOST_BOXES = 256


def client_epsilons(run: Run) -> Mapping[int, float] | None:
    """An upper bound for each client that released something, by Rényi DP; None where all pay the same, or nothing.

    The guarantee bounds every client, and those of each budget, so no bound here is above it. Many clients are bounded
    in boxes of similar ones.
    """
    guarantee = run.guarantee
    if guarantee is None or guarantee["trust_model"] != "local":
        return None
    try:
        found = run.released()
    except FedprivError:
        return None
    clients, most = list(found), _most(guarantee)
    bounds: dict[int, float] = {}
    for box in at_most(_MOST_BOXES, [canonical(found[client]) for client in clients]):
        bound = fast_upper_bound(dict(box.corner()), delta=guarantee["delta"], relation=guarantee["relation"])
        bounds |= {k: min(bound, most.get(k, guarantee["epsilon"])) for k in (clients[index] for index in box.indices)}
    return bounds


def _most(guarantee: Mapping[str, Any]) -> Mapping[int, float]:
    """By client id, what the guarantee says of those who allow the same; nobody where all do."""
    told = zip(guarantee.get("client_budgets", ()), guarantee.get("spent_by_budget", ()), strict=False)
    return {client: spent for budget, spent in told for client in ClientBudget(**budget).ids.tolist()}
