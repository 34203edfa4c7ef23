"""Clients that allow less epsilon than others: who they are, what they may still release, and what they have spent.

As in personalised differential privacy (Jorgensen, Yu & Cormode 2015) each unit has an epsilon of its own, which it
spends release by release (individual accounting: Feldman & Zrnic 2021); here what a release costs depends on no data.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, final

import numpy as np
import numpy.typing as npt

from fedpriv.errors import ConfigError

from .accountants import Epsilon
from .budget import Accounting, add
from .release import Composition

_IDS = re.compile(r"([0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*)?")
SLACK = 1e-9
"""Relative; nobody retires for the last bit of a float."""


@final
@dataclass(frozen=True, kw_only=True)
class ClientBudget:
    """Clients that allow the same epsilon.

    Args:
        epsilon: None for no limit.
        clients: their ids, ascending, as in ``0-3,7``.
    """

    epsilon: float | None
    clients: str

    @staticmethod
    def of(epsilon: float | None, ids: npt.NDArray[np.int64]) -> "ClientBudget":
        """``ids``: ascending, each once."""
        breaks = np.flatnonzero(np.diff(ids) != 1) + 1
        runs = [(int(run[0]), int(run[-1])) for run in np.split(ids, breaks) if len(run)]
        return ClientBudget(
            epsilon=epsilon, clients=",".join(f"{a}-{b}" if a < b else f"{a}" for a, b in runs)
        )

    @cached_property
    def ids(self) -> npt.NDArray[np.int64]:
        """Client ids, ascending."""
        runs = [np.arange(first, last + 1, dtype=np.int64) for first, last in self._runs]
        return np.concatenate([np.zeros(0, dtype=np.int64), *runs])

    @property
    def size(self) -> int:
        """Number of clients."""
        return sum(last - first + 1 for first, last in self._runs)

    @cached_property
    def _runs(self) -> list[tuple[int, int]]:
        """First and last id of each run.

        Raises:
            ConfigError: not a list of ids, ascending.
        """
        if not _IDS.fullmatch(self.clients):
            raise ConfigError(f"Clients {self.clients!r} are no list of ids, such as 0-3,7.")
        ends = [[int(end) for end in run.split("-")] for run in self.clients.split(",") if run]
        runs = [(run[0], run[-1]) for run in ends]
        if any(first > last for first, last in runs) or any(a[1] >= b[0] for a, b in pairwise(runs)):
            raise ConfigError(f"Clients {self.clients} are not in order.")
        return runs


def most_times(
    once: Composition, *, spent: Composition, at_most: int, budget: float, accounting: Accounting
) -> int:
    """How often ``once`` can be released after ``spent`` within ``budget``; ``at_most`` if so often.

    Args:
        once: what is released about one unit at a time.
    """

    def fits(times: int) -> bool:
        whole = add({0: spent}, {0: {release: count * times for release, count in once.items()}})
        return accounting.worst(whole)[0].value <= budget * (1 + SLACK)

    if fits(at_most):
        return at_most
    fitting, exceeding = 0, at_most
    while exceeding - fitting > 1:
        middle = (fitting + exceeding) // 2
        fitting, exceeding = (middle, exceeding) if fits(middle) else (fitting, middle)
    return fitting


def check_lists(budgets: Sequence[ClientBudget], *, num_clients: int) -> None:
    """Raise ConfigError unless every client of a federation is in exactly one of the budgets."""
    told = sum(budget.size for budget in budgets)
    if told != num_clients or len(np.unique(np.concatenate([budget.ids for budget in budgets]))) < told:
        raise ConfigError(f"Of the run's {num_clients} clients somebody is in none of the budgets, or in two.")


def worst_of_all(
    released: Mapping[int, Composition],
    budgets: Sequence[ClientBudget],
    *,
    together: bool,
    accounting: Accounting,
) -> tuple[Epsilon, int | None]:
    """As ``Accounting.worst``, budget by budget: of thousands of clients only such are bounded together as allow the
    same, and each by itself where that bound is above it.

    Args:
        budgets, together: as of ``spent_by_budget``; without budgets all clients allow the same.
    """
    if not budgets:
        return accounting.worst(released)
    found = _worst_of_each(released, budgets, together=together, accounting=accounting)
    return max(found, key=lambda one: one[0].value)


def spent_by_budget(
    released: Mapping[int, Composition],
    budgets: Sequence[ClientBudget],
    *,
    together: bool,
    accounting: Accounting,
) -> tuple[float, ...]:
    """Largest epsilon of a client of each budget; 0 where nothing was released about any.

    Args:
        released: participant -> what was released about it.
        together: whether participants are positions in ``budgets``, whose clients are drawn alike; else client ids.

    Raises:
        ConfigError: a client has spent more than it allows, or is in none of the budgets, or in two.
    """
    ids: Counter[int] = Counter()
    for position, budget in enumerate(budgets):
        ids.update([position] if together else budget.ids.tolist())
    if max(ids.values(), default=0) > 1 or released.keys() - ids.keys():
        raise ConfigError("The ledger's clients are not those that the run was told the budgets of.")
    found = [worst for worst, _ in _worst_of_each(released, budgets, together=together, accounting=accounting)]
    for budget, worst in zip(budgets, found, strict=True):
        if worst.value > _limit(budget):
            raise ConfigError(f"Clients {budget.clients} allow epsilon {budget.epsilon:g}, but spent {worst.value:g}.")
    return tuple(worst.value for worst in found)


def _worst_of_each(
    released: Mapping[int, Composition],
    budgets: Sequence[ClientBudget],
    *,
    together: bool,
    accounting: Accounting,
) -> Iterator[tuple[Epsilon, int | None]]:
    """Of each budget's clients, the largest epsilon and whose it is."""
    for position, budget in enumerate(budgets):
        members: Any = [position] if together else budget.ids.tolist()
        mine = {client: released[client] for client in members if client in released}
        yield accounting.worst(mine, within=_limit(budget))


def _limit(budget: ClientBudget) -> float:
    return math.inf if budget.epsilon is None else budget.epsilon * (1 + SLACK)
