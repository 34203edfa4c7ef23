"""Each client's own epsilon, from the ledger."""

from collections.abc import Mapping

from fedpriv.accounting.accountants import Composition, canonical, fast_upper_bound
from fedpriv.accounting.boxes import at_most
from fedpriv.accounting.ledger import LedgerTables, compositions
from fedpriv.errors import FedprivError
from fedpriv.records.hashchain import read_chain
from fedpriv.records.run_folder import RunFolder
from fedpriv.runs import Run

_MOST_BOXES = 256


def released(run: Run) -> Mapping[int, Composition] | None:
    """What each participant released, from the run's ledger; None where that cannot be read."""
    mark = run.record.ledger
    try:
        lines = read_chain(RunFolder(run.path).ledger, trusted_count=mark.count, trusted_head=mark.head, exact=True)
        return compositions(LedgerTables().entries(lines))
    except FedprivError:
        return None


def client_epsilons(run: Run) -> Mapping[int, float] | None:
    """An upper bound for each client that released something, by Rényi DP; None at client level and without claim.

    The guarantee bounds every client, so no bound here is above it. Many clients are bounded in boxes of similar ones.
    """
    guarantee = run.guarantee
    if guarantee is None or guarantee["unit"] != "example" or (found := released(run)) is None:
        return None
    clients = list(found)
    bounds: dict[int, float] = {}
    for box in at_most(_MOST_BOXES, [canonical(found[client]) for client in clients]):
        bound = fast_upper_bound(dict(box.corner()), delta=guarantee["delta"], relation=guarantee["relation"])
        bounds |= {clients[index]: min(bound, guarantee["epsilon"]) for index in box.indices}
    return bounds
