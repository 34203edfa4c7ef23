"""What was released: the entries of a run's ledger and what they add up to.

An entry is written before the message that permits its noise. It holds raw numbers, so that anybody can
recompute epsilon with a library of their choice.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fedpriv.errors import ConfigError

from .sampled_gaussian import Composition, SampledGaussian
from .sampling import ACCOUNTED_AS, EVERY_CLIENT


@dataclass(frozen=True, kw_only=True)
class ReleaseEntry:
    """One round's release by one mechanism.

    At example level ``clients`` holds ids, and ``noise_multiplier``, ``noise_std``, ``rate`` and ``steps`` are
    aligned with it: each client runs its own DP-SGD. At client level one noise serves the sum, ``clients``
    is a commitment to the cohort (its secrecy is what amplification rests on), and the four are scalars.

    Attributes:
        noise_std: standard deviation of the noise on the sum, in the units of ``sensitivity``.
        sensitivity: L2 norm that one protected unit's addend is clipped to (add-or-remove-one).
        noise_multiplier: noise_std / sensitivity.
        rate: chance of one unit to be in one step's sum.
        steps: noisy sums of this release.
        sampling: how cohorts (client level) or batches (example level) were drawn.
        turn: (r, separation) where only clients with id r modulo ``separation`` could be in the round; else None.
        attempt: key of the noise stream; a round trained again with other noise is another entry.
        group: name of a jointly accounted run of correlated noise; None where noise is independent.
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
    clients: tuple[int, ...] | str
    rate: tuple[float, ...] | float
    noise_multiplier: tuple[float, ...] | float
    noise_std: tuple[float, ...] | float
    steps: tuple[int, ...] | int
    group: str | None

    @property
    def key(self) -> tuple[int, int, str]:
        """(round, attempt, mechanism): no two entries of a ledger share it."""
        return self.round, self.attempt, self.mechanism

    def to_json(self) -> dict[str, Any]:
        """The entry as a line of ``ledger.jsonl``."""
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
        )

    def releases(self) -> Iterable[tuple[int, SampledGaussian, int]]:
        """(participant, what was released, how often); the multiplier is derived from the raw noise."""
        if isinstance(self.clients, str):
            participant = EVERY_CLIENT if self.turn is None else self.turn[0]
            columns: list[Any] = [[participant], [self.rate], [self.noise_std], [self.steps]]
        else:
            columns = [self.clients, self.rate, self.noise_std, self.steps]
        for client, rate, noise_std, steps in zip(*columns, strict=True):
            yield client, self._release(rate, noise_std), steps

    def _release(self, rate: float, noise_std: float) -> SampledGaussian:
        accounted = ACCOUNTED_AS[self.sampling]
        counted = accounted in ("fixed_size", "capped_poisson")
        return SampledGaussian(
            noise_multiplier=noise_std / self.sensitivity,
            sampling=accounted,
            rate=rate,
            population=self.population if counted else 0,
            cohort=self.cohort if counted else 0,
        )


def compositions(entries: Iterable[ReleaseEntry]) -> dict[int, Composition]:
    """Participant -> everything released about it. Entries of every attempt count.

    Raises:
        ConfigError: entries whose clients take turns in different ways: no participant of one is one of another.
    """
    entries = list(entries)
    if len({entry.turn and entry.turn[1] for entry in entries}) > 1:
        raise ConfigError("The ledger mixes rounds with different turns of clients, which nothing here adds up.")
    totals: dict[int, Counter[SampledGaussian]] = defaultdict(Counter)
    for entry in entries:
        for participant, release, count in entry.releases():
            totals[participant][release] += count
    return dict(totals)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
