"""Who may have been a member, and, for scoring alone, who was."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from fedpriv.data import ClientIndex, Examples, FederatedData, strata

Others = Literal["client_holdout", "test"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Challenge:
    """Candidates in an order that tells nothing.

    Attributes:
        data: its ``train`` has every candidate's examples.
        groups: rows of ``data.train`` of each candidate: one at example level.
        holders: the client that each candidate is with, or would be (int64); at client level, the client itself.
        members: the truth.
        others: where the non-members come from; None at client level, where they are the held-out clients.
    """

    data: FederatedData
    groups: Sequence[np.ndarray]
    holders: np.ndarray
    members: np.ndarray
    others: Others | None

    def at_most(self, count: int, rng: np.random.Generator) -> "Challenge":
        """So many, as many members as others where there are enough of both."""
        inside, outside = np.flatnonzero(self.members), np.flatnonzero(~self.members)
        half = min(count // 2, len(inside), len(outside))
        chosen = [rng.permutation(inside)[:half], rng.permutation(outside)[:half]]
        if len(self.members) <= count:
            return self
        return self._of(rng.permutation(np.concatenate(chosen)))

    def _of(self, chosen: np.ndarray) -> "Challenge":
        groups = [self.groups[i] for i in chosen]
        return replace(self, groups=groups, holders=self.holders[chosen], members=self.members[chosen])


def example_challenge(data: FederatedData, rng: np.random.Generator) -> Challenge:
    """Every example that the population trains on, and examples that it might as well have trained on.

    These are what the clients keep back, where they keep something back; else the server's test examples, each lent to
    the client of a random training example with the same kind of label.
    """
    population = data.population_ids
    inside, holders = _rows(data.clients, population)
    if data.holdout is not None:
        others: Others = "client_holdout"
        outside, their_holders = _rows(data.holdout, population)
    else:
        others, start = "test", len(data.train)
        outside = start + np.arange(len(data.test))
        their_holders = _lent(data, inside, holders, rng)
        data = replace(
            data,
            train=Examples(
                x=np.concatenate([data.train.x, data.test.x]), y=np.concatenate([data.train.y, data.test.y])
            ),
        )
    order = rng.permutation(len(inside) + len(outside))
    return Challenge(
        data=data,
        groups=list(np.concatenate([inside, outside])[order, None]),
        holders=np.concatenate([holders, their_holders])[order],
        members=(np.arange(len(order)) < len(inside))[order],
        others=others,
    )


def client_challenge(data: FederatedData, rng: np.random.Generator) -> Challenge:
    """Every client of the population and every one that is held out, if it has examples."""
    clients = rng.permutation(np.flatnonzero(data.client_sizes > 0))
    return Challenge(
        data=data,
        groups=[data.clients[client] for client in clients.tolist()],
        holders=clients,
        members=~np.isin(clients, data.held_out_clients),
        others=None,
    )


def _rows(index: ClientIndex, clients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All examples of some clients, and whose each is."""
    rows = [index[client] for client in clients.tolist()]
    return np.concatenate(rows), np.repeat(clients, [len(part) for part in rows])


def _lent(data: FederatedData, inside: np.ndarray, holders: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A client for each test example, so that clients' mixes of labels stay what they are."""
    kinds = strata(np.concatenate([data.train.y[inside], data.test.y]), num_classes=data.num_classes).of
    known, asked = kinds[: len(inside)], kinds[len(inside) :]
    lent = holders[rng.integers(len(holders), size=len(asked))]
    for kind in np.unique(asked):
        with_it = holders[known == kind]
        if len(with_it):
            lent[asked == kind] = with_it[rng.integers(len(with_it), size=int((asked == kind).sum()))]
    return lent
