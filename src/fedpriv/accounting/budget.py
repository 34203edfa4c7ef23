"""From a target to a schedule: how many rounds fit a budget, and what they cost so far."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import final

import numpy as np

from .accountants import Accountant, Epsilon, Relation, fast_upper_bound, max_epsilon, max_fast_upper_bound
from .boxes import at_most
from .client_table import ClientTable, TabledClients, participations
from .ledger import ReleaseEntry, ReleaseTerms
from .release import Composition, Release

_MOST_BOXES = 64  # by which a running epsilon of thousands of clients is bounded in milliseconds


@dataclass(frozen=True, kw_only=True)
class Accounting:
    """How releases are judged: delta, neighbouring relation, accountant."""

    delta: float
    relation: Relation
    accountant: Accountant

    def worst(
        self, released: Mapping[int, Composition], *, within: float = math.inf
    ) -> tuple[Epsilon, int | None]:
        """The largest epsilon over participants and the participant it belongs to (0 if nothing is released).

        Args:
            within: where the bound of many alike is above it, they are judged one by one (see ``max_epsilon``).
        """
        if not released:
            return Epsilon(value=0.0, method="nothing released"), None
        participants = sorted(released)
        worst, index = max_epsilon(
            [released[k] for k in participants],
            delta=self.delta,
            relation=self.relation,
            accountant=self.accountant,
            within=within,
        )
        return worst, participants[index]


def affordable_rounds(
    *,
    spent: Mapping[int, Composition],
    planned: Callable[[int], Mapping[int, Composition]],
    first_round: int,
    last_round: int,
    budget: float,
    worst: Callable[[Mapping[int, Composition]], Epsilon],
) -> tuple[int, Epsilon]:
    """The last round whose release keeps epsilon within ``budget``, and epsilon then.

    Args:
        spent: what the ledger holds already.
        planned: what rounds ``first_round`` to its argument would add.
        first_round, last_round: rounds yet to be paid for.
        budget: largest epsilon allowed; ``inf`` for none.
        worst: the judge: the largest epsilon over participants.

    Returns:
        (round, epsilon); round is ``first_round - 1`` where not even one more release fits.
    """

    def after(round_number: int) -> Epsilon:
        return worst(add(spent, planned(round_number)))

    at_end = after(last_round)
    if at_end.value <= budget:
        return last_round, at_end
    fits, exceeds = first_round - 1, last_round
    while exceeds - fits > 1:
        middle = (fits + exceeds) // 2
        if after(middle).value <= budget:
            fits = middle
        else:
            exceeds = middle
    return fits, after(fits)


def add(left: Mapping[int, Composition], right: Mapping[int, Composition]) -> dict[int, Composition]:
    """Both, participant by participant."""
    return {k: Counter(left.get(k, {})) + Counter(right.get(k, {})) for k in {*left, *right}}


@final
class EpsilonMeter:
    """Epsilon spent after each round, cheaply and never too low.

    Composes by Renyi DP while running and is capped by the accountant's value for all planned rounds, which
    bounds every earlier round too.
    """

    def __init__(self, *, accounting: Accounting, cap: float, spent: Iterable[ReleaseEntry]) -> None:
        self._accounting = accounting
        self._cap = cap
        self._released: dict[int, Counter[Release]] = {}
        self._tabled: dict[tuple[ClientTable, ReleaseTerms], _TabledTotals] = {}
        for entry in spent:
            self.spend(entry)

    def spend(self, entry: ReleaseEntry) -> None:
        """Add one entry."""
        if isinstance(entry.clients, TabledClients):
            table, terms = entry.clients.table, entry.terms
            if (table, terms) not in self._tabled:
                self._tabled[table, terms] = _TabledTotals(table, terms)
            self._tabled[table, terms].add(entry.clients)
            return
        for participant, release, count in entry.releases():
            self._released.setdefault(participant, Counter())[release] += count

    def upper_bound(self) -> float:
        """Largest epsilon over participants, an upper bound."""
        if len(self._tabled) + bool(self._released) > 1:
            return self._cap  # clients of several tables at once: a run that began anew with other noise
        for totals in self._tabled.values():
            return min(self._cap, totals.upper_bound(self._accounting))
        distinct = {frozenset(composition.items()) for composition in self._released.values()}
        if not distinct:
            return 0.0
        bound, _ = max_fast_upper_bound(
            [dict(composition) for composition in distinct],
            delta=self._accounting.delta,
            relation=self._accounting.relation,
        )
        return min(self._cap, bound)


@final
class _TabledTotals:
    """How often each client of a table took part, and what that costs at most: by the corners of a few boxes of
    clients alike in noise, rate and steps, which stay the same from round to round."""

    def __init__(self, table: ClientTable, terms: ReleaseTerms) -> None:
        self._steps = table.steps
        self._participations = np.zeros(len(table.clients), dtype=np.int64)
        numbers = zip(table.rate.tolist(), table.noise_std.tolist(), table.steps.tolist(), strict=True)
        keys = [((terms.release(rate, noise_std), steps),) for rate, noise_std, steps in numbers]
        self._boxes = [(box.corner()[0][0], box.indices) for box in at_most(_MOST_BOXES, keys)]

    def add(self, cohort: TabledClients) -> None:
        self._participations += participations([cohort])

    def upper_bound(self, accounting: Accounting) -> float:
        counts = self._steps * self._participations
        return max(
            fast_upper_bound(
                {release: int(counts[rows].max())}, delta=accounting.delta, relation=accounting.relation
            )
            for release, rows in self._boxes
        )
