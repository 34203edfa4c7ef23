"""Who may claim what against whom: epsilon of both units against four observers, each with its proof or a refusal.

Nothing is carried from one cell to another without a proof, and where there is none there is no guarantee.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, final

from .budget import Accounting
from .release import Accountant, Composition, Relation, Release

UNITS = ("example", "client")
OBSERVERS = {
    "final_model": "sees the final model only",
    "other_clients": "the other clients together: what each is sent and knows of itself, its participation included",
    "curious_server": "sees every client's update, and all that the server computes",
    "secure_aggregation_server": "sees exact sums of updates only, and all that the server computes",
}
# Why the participations of all the others tell nothing that a claim rests on; for other samplings they do
_COINS = {
    "poisson": "Every client has a coin of its own, so that the others' participations tell nothing of it.",
    "cyclic_poisson": "Whose turn it is, is public, and every client has a coin of its own.",
    "round_robin": "Whose turn it is, is public, and no amplification is claimed.",
    "all": "Everybody takes part in every round, and no amplification is claimed.",
}
_RETIRED = "Who has retired follows from public budgets and the ledger; of those who are left:"


@final
@dataclass(frozen=True, kw_only=True)
class Cell:
    """What is claimed for one unit against one observer.

    Attributes:
        epsilon, delta, relation: None where there is no guarantee.
        because: the proof in one sentence, or why there is none.
    """

    unit: str
    observer: str
    epsilon: float | None
    delta: float | None
    relation: str | None
    because: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def no_guarantee(because: str) -> tuple[Cell, ...]:
    """The matrix of a run that claims nothing."""
    return tuple(_refused(unit, observer, because) for unit in UNITS for observer in OBSERVERS)


def local_matrix(*, epsilon: float, accounting: Accounting) -> tuple[Cell, ...]:
    """Example level: the noise is added by each client, and ``epsilon`` holds against all who see what it sends."""

    seen = (
        "Every update is private when it leaves its client, and each example belongs to one client: the ledger's "
        "largest epsilon of a client."
    )
    derived = "Post-processing of the updates, which are private when they leave their clients."
    return (
        *(
            _claimed("example", observer, epsilon, accounting, seen if observer == "curious_server" else derived)
            for observer in OBSERVERS
        ),
        *(
            _refused(
                "client",
                observer,
                "An update is made from all of the client's examples and its noise for one of them; group privacy over "
                "so many is not stated.",
            )
            for observer in OBSERVERS
        ),
    )


def reports_matrix(
    *, released: Mapping[int, Composition], epsilon: float, accounting: Accounting
) -> tuple[Cell, ...]:
    """Client level, the noise added by each client to its report: it holds against all who see it.

    Args:
        released: what the ledger holds.
        epsilon: what it earns under ``accounting``.
    """
    told = _seen(released, epsilon, accounting, that_it="reported")
    return tuple(
        _claimed(
            unit,
            observer,
            value,
            judged,
            f"{'Every report' if observer == 'curious_server' else 'Post-processing of reports, each of which'} is "
            f"private when it leaves its client: {why}.",
        )
        for unit, (value, judged, why) in told.items()
        for observer in OBSERVERS
    )


def sums_matrix(*, released: Mapping[int, Composition], epsilon: float, accounting: Accounting) -> tuple[Cell, ...]:
    """Client level, a share of the noise added by each client of a secure sum.

    Args:
        released: what the ledger holds.
        epsilon: what it earns under ``accounting``.
    """
    told = _seen(released, epsilon, accounting, that_it="took part")
    return tuple(cell for unit, (value, judged, why) in told.items() for cell in _of_sums(unit, value, judged, why))


def _seen(
    released: Mapping[int, Composition], epsilon: float, accounting: Accounting, *, that_it: str
) -> Mapping[str, tuple[float, Accounting, str]]:
    """Where participation is seen: each unit's epsilon, its accounting, and what it hides."""
    exchanged = replace(accounting, relation="replace_one")
    of_example, _ = exchanged.worst(released)
    return {
        "client": (epsilon, accounting, f"what the client's data say; that it {that_it} is seen"),
        "example": (of_example.value, exchanged, "changing one example replaces its client's update by another"),
    }


def _of_sums(unit: str, epsilon: float, accounting: Accounting, why: str) -> Iterator[Cell]:
    derived = f"Post-processing of sums, each of which is private: {why}."
    yield _claimed(unit, "final_model", epsilon, accounting, derived)
    yield _refused(
        unit, "other_clients", "Clients that put their knowledge together can take their own shares of the noise away."
    )
    yield _refused(unit, "curious_server", "One client's share of the noise alone does not hide its update.")
    yield _claimed(
        unit,
        "secure_aggregation_server",
        epsilon,
        accounting,
        f"Every sum that is unmasked holds the shares of enough clients: {why}.",
    )


def central_matrix(
    *,
    sampling: str,
    released: Mapping[int, Composition],
    epsilon: float,
    accounting: Accounting,
    num_examples: int,
    some_retire: bool,
) -> tuple[Cell, ...]:
    """Client level: the noise is added to the sum by the server.

    Args:
        sampling: how cohorts were drawn (``CohortKind``).
        released: what the ledger holds.
        epsilon: what it earns under ``accounting``.
        num_examples: of all clients; the example row is told where delta is not below one in so many.
        some_retire: whether clients have budgets of their own.
    """
    return tuple(_central(sampling, released, epsilon, accounting, num_examples, some_retire))


def _central(
    sampling: str,
    released: Mapping[int, Composition],
    epsilon: float,
    accounting: Accounting,
    num_examples: int,
    some_retire: bool,
) -> Iterator[Cell]:
    judge: Accountant = "rdp" if sampling == "fixed_size" else "pld"
    exchanged = replace(accounting, relation="replace_one", accountant=judge)
    of_example, _ = exchanged.worst(released)
    weak = f" Weak: delta is not below one in {num_examples} examples." if accounting.delta * num_examples >= 1 else ""
    of_unit = {
        "client": (
            epsilon,
            accounting,
            "All global models together are what the ledger releases, and the final model is one of them.",
        ),
        "example": (
            of_example.value,
            exchanged,
            "Changing one example replaces its client's update by another, whatever in it changed, and no coin: the "
            f"ledger's releases under replace-one of an update, by {of_example.method}.{weak}",
        ),
    }
    for unit in UNITS:
        value, judged, because = of_unit[unit]
        yield _claimed(unit, "final_model", value, judged, because)
        if sampling in _COINS:
            coins = f"{_RETIRED} {_COINS[sampling]}" if some_retire else _COINS[sampling]
            yield _claimed(unit, "other_clients", value, judged, f"{coins} {because}")
        else:
            yield _unamplified(unit, sampling, released, judged, weak if unit == "example" else "")
        yield _refused(unit, "curious_server", "It sees updates without noise.")
        yield _refused(
            unit, "secure_aggregation_server", "It sees sums without noise, which the server adds after the sum."
        )


def _unamplified(
    unit: str, sampling: str, released: Mapping[int, Composition], accounting: Accounting, weak: str
) -> Cell:
    """Where all the others together know whether the target was sampled."""
    if accounting.relation == "add_or_remove_one":
        return _refused(
            unit,
            "other_clients",
            "Whether a client is there decides who else fits below the cap, which those others see and no noise hides.",
        )
    # in a capped cohort twice the sensitivity is charged under zero-out as well
    relation: Relation = "replace_one" if sampling == "capped_poisson" else accounting.relation
    plain = {participant: _without_sampling(composition) for participant, composition in released.items()}
    worst, _ = replace(accounting, relation=relation).worst(plain)
    return _claimed(
        unit,
        "other_clients",
        worst.value,
        accounting,
        "The others together may know whether a client was sampled, so nothing is amplified: as if it were in every "
        f"round, by {worst.method}.{weak}",
    )


def _without_sampling(composition: Composition) -> Composition:
    totals: Counter[Release] = Counter()
    for release, times in composition.items():
        totals[release.unsampled()] += times
    return totals


def _claimed(unit: str, observer: str, epsilon: float, accounting: Accounting, because: str) -> Cell:
    if not math.isfinite(epsilon):
        return _refused(unit, observer, "The noise is too small to be told from none.")
    return Cell(
        unit=unit,
        observer=observer,
        epsilon=epsilon,
        delta=accounting.delta,
        relation=accounting.relation,
        because=because,
    )


def _refused(unit: str, observer: str, because: str) -> Cell:
    return Cell(unit=unit, observer=observer, epsilon=None, delta=None, relation=None, because=because)
