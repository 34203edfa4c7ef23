"""What client-level and example-level mechanisms share as subjects: real rounds, real cohorts, a real ledger file."""

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from fedpriv.accounting.ledger import LedgerTables, ReleaseEntry
from fedpriv.errors import ConfigError
from fedpriv.privacy import CohortSampler, Mechanism
from fedpriv.records.hashchain import GENESIS, HashChain, read_chain
from fedpriv.streams import Streams

from .scripted_federation import ScriptedFederation, streams_of
from .subject import SERVER, Release, Round, Script

MakeSampler = Callable[[Streams], CohortSampler]
MakeMechanism = Callable[[Streams, CohortSampler], Mechanism]
Permit = Callable[[ReleaseEntry], None]


class MechanismSubject(ABC):
    """A mechanism of fedpriv's kind, played by the real server and nodes.

    Args:
        make: a fresh mechanism, from streams and the sampler to account for.
        make_sampler: what draws the cohorts.
        population: clients 0 ... population - 1.
    """

    unit: ClassVar[str]
    """Whose claim is measured."""

    def __init__(self, *, name: str, make: MakeMechanism, make_sampler: MakeSampler, population: int) -> None:
        self.name = name
        self.population = population
        self._make, self._make_sampler = make, make_sampler
        self._samplers: dict[int, CohortSampler] = {}

    @abstractmethod
    def federation(
        self, start: Mapping[str, np.ndarray], *, seed: int, permit: Permit, round: int, attempt: int
    ) -> ScriptedFederation:
        """A federation that has completed this round."""

    def play(self, script: Script, *, seed: int) -> Sequence[Release]:
        federation = self.federation(script.start, seed=seed, permit=_nowhere, round=0, attempt=0)
        return [federation.play(round_) for round_ in script.rounds]

    def play_resumed(
        self, before: Script, after: Script, *, seed: int
    ) -> tuple[Sequence[Release], Sequence[ReleaseEntry]]:
        """As a run does: entries are on the disk before their round; a round ahead of the checkpoint is paid again."""
        released: list[Release] = []
        saved, kept, last = before.start, None, len(before.rounds)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "ledger.jsonl"
            with HashChain.open(path, trusted_count=0, trusted_head=GENESIS) as chain:
                run = self.federation(before.start, seed=seed, permit=_into(chain), round=0, attempt=0)
                for round_ in before.rounds:
                    saved, kept = run.parameters, run.kept
                    released.append(run.play(round_))
            with HashChain.open(path, trusted_count=0, trusted_head=GENESIS) as chain:
                attempt = int(any(entry.round >= last for entry in _entries(path)))
                run = self.federation(saved, seed=seed, permit=_into(chain), round=last - 1, attempt=attempt)
                run.kept = kept
                released += [run.play(round_) for round_ in after.rounds]
            return released, _entries(path)

    def cohort(self, round_number: int, *, seed: int) -> np.ndarray:
        """Whom the real sampler draws."""
        if seed not in self._samplers:
            self._samplers[seed] = self._make_sampler(streams_of(seed))
        return self._samplers[seed].cohort(round_number)

    def noise(self, *, seed: int, round_number: int, attempt: int, client: int, size: int) -> np.ndarray:
        """What is released of a round in which ``client`` is asked and contributes nothing."""
        start = {"rest": np.zeros(size, dtype=np.float32)}
        federation = self.federation(start, seed=seed, permit=_nowhere, round=round_number - 1, attempt=attempt)
        release = federation.play(self.silent_round(client, start))
        return np.asarray(release.get(client, release.get(SERVER)))

    def silent_round(self, client: int, start: Mapping[str, np.ndarray]) -> Round:
        """A round in which the client contributes nothing, and its noise is to be seen."""
        return Round(asked=(client,), reports=())

    def stated(self, *, round_number: int, attempt: int, cohort: np.ndarray) -> ReleaseEntry | None:
        mechanism = self._watched
        state = mechanism.initial_state()
        entries = mechanism.entries(round_number=round_number, attempt=attempt, cohort=cohort, state=state)
        return next((entry for entry in entries if entry.unit == self.unit), None)

    @cached_property
    def _watched(self) -> Mechanism:
        return self.mechanism(0)

    def mechanism(self, seed: int) -> Mechanism:
        """A fresh one."""
        streams = streams_of(seed)
        return self._make(streams, self._make_sampler(streams))

    @cached_property
    def sampler(self) -> CohortSampler:
        """One that nothing is drawn from: for its law."""
        return self._make_sampler(streams_of(0))

    @cached_property
    def entry(self) -> ReleaseEntry:
        """What the mechanism writes of a round that asks client 0.

        Raises:
            ConfigError: it claims nothing.
        """
        entry = self.stated(round_number=1, attempt=0, cohort=np.zeros(1, dtype=np.int64))
        if entry is None:
            raise ConfigError(f"{self.name} claims nothing: give it noise (noise_multiplier above 0).")
        if entry.noise_law not in ("gaussian", "gaussian_tree", "gaussian_banded", "discrete_gaussian", "laplace"):
            raise ConfigError(f"{self.name} claims {entry.noise_law} noise: the kit knows gaussian and laplace.")
        return entry


def _nowhere(entry: ReleaseEntry) -> None:
    pass


def _into(chain: HashChain) -> Permit:
    tables = LedgerTables()
    list(tables.entries(chain.entries))  # knows the tables that are there

    def permit(entry: ReleaseEntry) -> None:
        for line in tables.lines(entry, index=chain.count):
            chain.append(line)

    return permit


def _entries(path: Path) -> list[ReleaseEntry]:
    return list(LedgerTables().entries(read_chain(path)))
