"""What was released: the entries of a run's ledger and what they add up to.

An entry is written before the message that permits its noise. It holds raw numbers, so that anybody can
recompute epsilon with a library of their choice.

With more than ``MOST_LISTED`` clients, what stays the same from round to round has a line of its own before the first
entry that needs it, and an entry says which of its clients took part:

    {"table": {"mechanism": ..., "sampling": {...}, "clients": [...], "steps": [...], ...}, ...}
    {"table_index": 0, "round": 1, "attempt": 0, "cohort": 5000, "rows": "...", ...}

``table_index`` is the ``index`` of the table's line. In Python, ``rows`` are which of its clients by
``np.unpackbits(np.frombuffer(zlib.decompress(base64.b64decode(rows)), np.uint8), bitorder="little")``.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, final

import numpy as np

from fedpriv.errors import ConfigError, DamagedRunError

from .client_table import COLUMNS, ClientTable, TabledClients, participations
from .discrete_gaussian import SumOfShares, rounded_norm
from .laplace import LaplaceReport
from .release import Composition, Release, Sampling
from .sampled_gaussian import COUNTED, SampledGaussian
from .sampling import ACCOUNTED_AS, EVERY_CLIENT
from .tree import TreeRound

LAYER = "norm of layer "
"""Begins the names of an entry's details that say to what each layer of an example's gradient is clipped."""


@dataclass(frozen=True, kw_only=True)
class ReleaseTerms:
    """What the noisy sums of an entry have in common, as an accountant sees them.

    ``of_tree``: round and attempt, where the noise is a tree's.
    """

    noise_law: str
    sensitivity: float
    sampling: Sampling
    population: int
    cohort: int
    details: tuple[tuple[str, float], ...]
    of_tree: tuple[int, int] | None

    def release(self, rate: float, noise_std: float) -> Release:
        """One noisy sum; the multiplier is derived from the raw noise."""
        multiplier = noise_std / self.sensitivity
        if self.of_tree is not None:
            return tree_round(multiplier, dict(self.details), *self.of_tree)
        if self.noise_law == "discrete_gaussian":
            return sum_of_shares(multiplier, self.sensitivity, dict(self.details))
        if self.noise_law == "laplace":
            return LaplaceReport(noise_multiplier=multiplier, sampling=self.sampling, rate=rate)
        return SampledGaussian(
            noise_multiplier=multiplier,
            sampling=self.sampling,
            rate=rate,
            population=self.population,
            cohort=self.cohort,
        )


def sum_of_shares(noise_multiplier: float, sensitivity: float, details: Mapping[str, float]) -> SumOfShares:
    """One secure sum, whose parameters are the details.

    Raises:
        ConfigError: one is missing, or the sensitivity is not that of updates clipped and rounded so.
    """
    try:
        norm, step, dimension = details["clipping_norm"], details["step"], int(details["dimension"])
        survivors, shares = int(details["survivors"]), int(details["shares"])
    except KeyError as error:
        raise ConfigError(f"The ledger does not say what its secure sums are made of: {error} is missing.") from error
    if not step > 0 or not math.isclose(sensitivity, step * rounded_norm(norm / step, dimension), rel_tol=1e-9):
        raise ConfigError("The ledger's sensitivity is not that of updates which are clipped and rounded as it says.")
    return SumOfShares(
        noise_multiplier=noise_multiplier,
        norm=sensitivity / step,
        dimension=dimension,
        survivors=survivors,
        shares=shares,
    )


def tree_round(noise_multiplier: float, details: Mapping[str, float], round_number: int, attempt: int) -> TreeRound:
    """One round of a tree, whose first and last round are among the details.

    Raises:
        ConfigError: they are not, or the round is none of them.
    """
    try:
        first, last = int(details["first_round"]), int(details["last_round"])
    except KeyError as error:
        raise ConfigError(f"The ledger's round {round_number} does not say which tree it belongs to.") from error
    return TreeRound(
        noise_multiplier=noise_multiplier, first_round=first, last_round=last, attempt=attempt, round=round_number
    )


@dataclass(frozen=True, kw_only=True)
class Part:
    """One of several vectors that are released together, under one coin of each unit.

    Attributes:
        name: a group of parameters, or what else the vector is.
        sensitivity: L2 norm that one unit's addend to it is clipped to.
        noise_std: of the noise on its sum, in the same units.
    """

    name: str
    sensitivity: float
    noise_std: float


def joint_multiplier(parts: Iterable[Part]) -> float:
    """Noise multiplier of several Gaussian releases as one: each in units of its noise, they are one vector.

    McMahan et al. 2018 ("A general approach"), section 3; Andrew et al. 2021, Theorem 1.
    """
    return 1 / math.sqrt(sum((part.sensitivity / part.noise_std) ** 2 for part in parts))


@dataclass(frozen=True, kw_only=True)
class ReleaseEntry:
    """One round's release by one mechanism.

    At example level ``clients`` holds ids, and ``noise_multiplier``, ``noise_std``, ``rate`` and ``steps`` are
    aligned with it: each client runs its own DP-SGD. With many clients ``clients`` are rows of a table, which holds
    the four for each (here None). At client level one noise serves the sum, ``clients``
    is a commitment to the cohort (its secrecy is what amplification rests on), and the four are scalars.

    Attributes:
        noise_std: standard deviation of the noise on the sum, in the units of ``sensitivity``.
        sensitivity: L2 norm that one protected unit's addend is clipped to (add-or-remove-one).
        noise_multiplier: noise_std / sensitivity.
        rate: chance of one unit to be in one step's sum.
        steps: noisy sums of this release.
        sampling: how cohorts (client level) or batches (example level) were drawn.
        budgets: positions of the clients' budgets that could be in the round, at client level where the server adds the
            noise and clients have budgets of their own; else None.
        turn: (r, separation) where only clients with id r modulo ``separation`` could be in the round; else None.
        attempt: key of the noise stream; a round trained again with other noise is another entry.
        group: name of a jointly accounted run of correlated noise; None where noise is independent.
        parts: where several vectors with noise of their own are released together; then ``sensitivity`` is 1, each
            part counting in units of its own noise.
        details: further numbers that a noise law has, by name and in order of the names.
    """

    mechanism: str
    unit: str
    round: int
    attempt: int
    noise_law: str
    sensitivity: float
    sampling: str
    population: int
    cohort: int
    turn: tuple[int, int] | None
    clients: tuple[int, ...] | TabledClients | str
    rate: tuple[float, ...] | float | None
    noise_multiplier: tuple[float, ...] | float | None
    noise_std: tuple[float, ...] | float | None
    steps: tuple[int, ...] | int | None
    group: str | None
    parts: tuple[Part, ...] = ()
    details: tuple[tuple[str, float], ...] = ()
    budgets: tuple[int, ...] | None = None

    @property
    def key(self) -> tuple[int, int, str]:
        """(round, attempt, mechanism): no two entries of a ledger share it."""
        return self.round, self.attempt, self.mechanism

    def to_json(self) -> dict[str, Any]:
        """The entry as a line of ``ledger.jsonl``; ``LedgerTables.lines`` has the one for rows of a table."""
        return {
            "mechanism": self.mechanism,
            "unit": self.unit,
            "round": self.round,
            "attempt": self.attempt,
            "noise_law": self.noise_law,
            "sensitivity": self.sensitivity,
            "sampling": {
                "kind": self.sampling,
                "rate": _plain(self.rate),
                "population": self.population,
                "cohort": self.cohort,
                "turn": _plain(self.turn),
            },
            "clients": _plain(self.clients),
            "noise_multiplier": _plain(self.noise_multiplier),
            "noise_std": _plain(self.noise_std),
            "steps": _plain(self.steps),
            "group": self.group,
            **({"parts": [asdict(part) for part in self.parts]} if self.parts else {}),
            **({"details": dict(self.details)} if self.details else {}),
            **({"budgets": list(self.budgets)} if self.budgets is not None else {}),
        }

    @staticmethod
    def from_json(line: Mapping[str, Any]) -> "ReleaseEntry":
        """The inverse of ``to_json`` (the chain's own fields are ignored)."""
        sampling = line["sampling"]
        return ReleaseEntry(
            mechanism=line["mechanism"],
            unit=line["unit"],
            round=line["round"],
            attempt=line["attempt"],
            noise_law=line["noise_law"],
            sensitivity=line["sensitivity"],
            sampling=sampling["kind"],
            population=sampling["population"],
            cohort=sampling["cohort"],
            turn=_frozen(sampling.get("turn")),
            clients=_frozen(line["clients"]),
            rate=_frozen(sampling["rate"]),
            noise_multiplier=_frozen(line["noise_multiplier"]),
            noise_std=_frozen(line["noise_std"]),
            steps=_frozen(line["steps"]),
            group=line["group"],
            parts=tuple(Part(**part) for part in line.get("parts", ())),
            details=tuple(line.get("details", {}).items()),
            budgets=_frozen(line.get("budgets")),
        )

    def releases(self) -> Iterable[tuple[int, Release, int]]:
        """(participant, what was released, how often)."""
        if isinstance(self.clients, TabledClients):
            table, rows = self.clients.table, self.clients.rows
            columns: list[Any] = [
                column[rows].tolist() for column in (table.clients, table.rate, table.noise_std, table.steps)
            ]
        elif isinstance(self.clients, str):
            numbers: tuple[Any, ...] = (self.rate, self.noise_std, self.steps)
            columns = [self._drawn, *([number] * len(self._drawn) for number in numbers)]
        else:
            columns = [self.clients, self.rate, self.noise_std, self.steps]
        terms = self.terms
        for client, rate, noise_std, steps in zip(*columns, strict=True):
            yield client, terms.release(rate, noise_std), steps

    @property
    def _drawn(self) -> tuple[int, ...]:
        """Participants at client level, where the ledger names no clients."""
        if self.budgets is not None:
            return self.budgets
        return (EVERY_CLIENT if self.turn is None else self.turn[0],)

    @property
    def terms(self) -> ReleaseTerms:
        """As what each of its noisy sums may be accounted."""
        accounted = ACCOUNTED_AS[self.sampling]
        counted = accounted in COUNTED
        return ReleaseTerms(
            noise_law=self.noise_law,
            sensitivity=self.sensitivity,
            sampling=accounted,
            population=self.population if counted else 0,
            cohort=self.cohort if counted else 0,
            details=self.details,
            of_tree=(self.round, self.attempt) if self.noise_law == "gaussian_tree" else None,
        )


@final
class LedgerTables:
    """From the lines of one ledger to its entries and back: knows the tables of clients that it holds."""

    def __init__(self) -> None:
        self._shared: dict[int, ReleaseEntry] = {}
        self._index: dict[ReleaseEntry, int] = {}

    def entries(self, lines: Iterable[Mapping[str, Any]]) -> Iterator[ReleaseEntry]:
        """The entries of a ledger, read from its first line on.

        Raises:
            DamagedRunError: a line that is neither entry nor table, or whose table is not there or too short.
        """
        for index, line in enumerate(lines):
            try:
                if "table" in line:
                    whole = ReleaseEntry.from_json(line["table"])
                    columns = {name: getattr(whole, name) for name in COLUMNS}
                    self._add(_shared(whole, ClientTable.of(columns)), index)
                else:
                    yield self._entry(line) if "table_index" in line else ReleaseEntry.from_json(line)
            except (KeyError, TypeError, ValueError) as error:
                raise DamagedRunError(
                    f"The ledger's line {index + 1} is none that fedpriv wrote ({error!r}). Restore ledger.jsonl from "
                    "a copy."
                ) from error

    def lines(self, entry: ReleaseEntry, *, index: int) -> Iterator[dict[str, Any]]:
        """What is to be appended to a ledger of ``index`` lines for an entry: its table first, where it is new."""
        if not isinstance(entry.clients, TabledClients):
            yield entry.to_json()
            return
        table = entry.clients.table
        shared = _shared(entry, table)
        if shared not in self._index:
            columns: dict[str, Any] = {name: tuple(column.tolist()) for name, column in table.columns.items()}
            yield {"table": replace(shared, **columns).to_json()}
            self._add(shared, index)  # not before the line is written
        yield {
            "table_index": self._index[shared],
            "round": entry.round,
            "attempt": entry.attempt,
            "cohort": entry.cohort,
            "rows": entry.clients.packed,
        }

    def _add(self, shared: ReleaseEntry, index: int) -> None:
        self._shared[index] = shared
        self._index.setdefault(shared, index)

    def _entry(self, line: Mapping[str, Any]) -> ReleaseEntry:
        shared = self._shared.get(line["table_index"])
        if shared is None or not isinstance(shared.clients, TabledClients):
            raise ValueError(f"no table before it has the index {line['table_index']}")
        return replace(
            shared,
            round=line["round"],
            attempt=line["attempt"],
            cohort=line["cohort"],
            clients=TabledClients.unpacked(shared.clients.table, line["rows"]),
        )


def _shared(entry: ReleaseEntry, table: ClientTable) -> ReleaseEntry:
    """The entry without what differs from round to round: with nobody, in round 0."""
    nobody: dict[str, Any] = {**dict.fromkeys(COLUMNS), "clients": TabledClients(table=table, bitmap=b"")}
    return replace(entry, round=0, attempt=0, cohort=0, **nobody)


def compositions(entries: Iterable[ReleaseEntry]) -> dict[int, Composition]:
    """Participant -> everything released about it. Entries of every attempt count.

    Raises:
        ConfigError: entries whose clients take turns in different ways: no participant of one is one of another.
    """
    entries = list(entries)
    if len({entry.turn and entry.turn[1] for entry in entries}) > 1:
        raise ConfigError("The ledger mixes rounds with different turns of clients, which nothing here adds up.")
    totals: dict[int, Counter[Release]] = defaultdict(Counter)
    tabled: dict[tuple[ClientTable, ReleaseTerms], list[TabledClients]] = defaultdict(list)
    for entry in entries:
        if isinstance(entry.clients, TabledClients):
            tabled[entry.clients.table, entry.terms].append(entry.clients)
            continue
        for participant, release, count in entry.releases():
            totals[participant][release] += count
    for (table, terms), cohorts in tabled.items():
        counts = participations(cohorts)
        rows = np.flatnonzero(counts)
        columns = (table.clients, table.rate, table.noise_std, table.steps * counts)
        for client, rate, noise_std, count in zip(*(column[rows].tolist() for column in columns), strict=True):
            totals[client][terms.release(rate, noise_std)] += count
    return dict(totals)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
