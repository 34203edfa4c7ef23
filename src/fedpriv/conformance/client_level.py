"""A client-level ``Mechanism`` as a subject: clients clip, the server sums and adds noise."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Protocol, cast, final, runtime_checkable

import numpy as np

from fedpriv.accounting.groups import Groups
from fedpriv.accounting.ledger import ReleaseEntry
from fedpriv.accounting.release import Relation
from fedpriv.accounting.sampling import CohortSampling
from fedpriv.errors import ConfigError
from fedpriv.privacy.encoders import Encoder
from fedpriv.privacy.mechanisms.central_adaptive import COUNT

from .mechanism_subject import MechanismSubject, Permit
from .scripted_federation import ScriptedFederation, clients_with, planned_trainer
from .subject import SERVER, Claim, Release, Report, Round, Script


@runtime_checkable
class SharesNoise(Protocol):
    """A mechanism whose rounds share noise, in groups."""

    @property
    def encoder(self) -> Encoder: ...

    @property
    def groups(self) -> Groups: ...


@final
class ClientLevelSubject(MechanismSubject):
    """What its ledger entries claim, over the public expected cohort."""

    unit = "client"

    @cached_property
    def claim(self) -> Claim:
        entry, cohort = self.entry, self.sampler.law.cohort
        divisor = 1.0 if self._by_clients else cohort
        sensitivity, noise_std = self._in_units_of_the_update(entry)
        times: dict[Relation, float] = {"add_or_remove_one": 1.0, "zero_out": 1.0, "replace_one": 2.0}
        if entry.sampling == "fixed_size" or not isinstance(entry.clients, str):  # nobody is added or removed unseen
            del times["add_or_remove_one"]
        return Claim(
            unit="client",
            sensitivity={relation: factor * sensitivity / divisor for relation, factor in times.items()},
            noise_std=noise_std / divisor,
            noise_law="laplace" if entry.noise_law == "laplace" else "gaussian",
            noise_by="clients" if self._by_clients else "server",
            cohort=math.ceil(cohort),
            target_quantile=getattr(self.mechanism(0), "target_quantile", None),
            survivors=self._survivors,
        )

    def clipping_norms(self, script: Script, *, seed: int) -> Sequence[float]:
        """As its state says, where it keeps one (``clipping_norm``)."""
        federation = self.federation(script.start, seed=seed, permit=lambda entry: None, round=0, attempt=0)
        norms = [float(federation.state["clipping_norm"])]
        for round_ in script.rounds:
            federation.play(round_)
            norms.append(float(federation.state["clipping_norm"]))
        return norms

    def silent_round(self, client: int, start: Mapping[str, np.ndarray]) -> Round:
        """A report of zeros by the client whose noise it is, or by all where each has a share; else it drops out."""
        nothing = {name: np.zeros(value.shape) for name, value in start.items()}
        asked = (client,) if self._survivors is None else tuple(range(self.claim.cohort))
        sent = asked if self._by_clients or self._survivors is not None else ()
        return Round(asked=asked, reports=tuple(Report(client=k, update=nothing, num_examples=1) for k in sent))

    def play(self, script: Script, *, seed: int) -> Sequence[Release]:
        """Where rounds share noise, the sums that have noise of their own: all that is released follows from them."""
        releases = super().play(script, seed=seed)
        if not self._shares_noise:
            return releases
        moved = [release[SERVER] for release in releases]
        return [{SERVER: self._encoded(i, 0, lambda r: moved[r - 1])} for i in range(1, len(moved) + 1)]

    def noise(self, *, seed: int, round_number: int, attempt: int, client: int, size: int) -> np.ndarray:
        alone = partial(super().noise, seed=seed, attempt=attempt, client=client, size=size)
        if not self._shares_noise:
            return alone(round_number=round_number)
        return self._encoded(round_number, attempt, lambda r: alone(round_number=r))

    @property
    def _shares_noise(self) -> bool:
        return isinstance(self._watched, SharesNoise)

    def _encoded(self, round_number: int, attempt: int, released: Callable[[int], np.ndarray]) -> np.ndarray:
        mechanism = cast(SharesNoise, self._watched)
        group = mechanism.groups.of(round_number, attempt)
        row = mechanism.encoder.row(round_number - group.first_round + 1, group.length)
        first = round_number - len(row) + 1
        return np.asarray(sum(weight * released(r) for r, weight in enumerate(row, start=first)))

    @property
    def _by_clients(self) -> bool:
        """Whether each client's noise is enough for what it sends: entries then list them."""
        return not isinstance(self.entry.clients, str) and self._survivors is None

    @property
    def _survivors(self) -> int | None:
        """Clients whose shares are the noise of a sum; None where it is not made of shares."""
        found = dict(self.entry.details).get("survivors")
        return None if found is None else int(found)

    def _in_units_of_the_update(self, entry: ReleaseEntry) -> tuple[float, float]:
        """Sensitivity and noise of the update, where other vectors may be released beside it."""
        parts = [part for part in entry.parts if part.name != COUNT]
        stds = [part.noise_std for part in parts] or np.atleast_1d(np.asarray(entry.noise_std, dtype=float)).tolist()
        if max(stds) > min(stds) * (1 + 1e-9):
            raise ConfigError(f"{self.name}: noise is measured where it is the same in all coordinates, not {stds}.")
        return math.hypot(*(part.sensitivity for part in parts)) if parts else entry.sensitivity, max(stds)

    @property
    def accounted_sampling(self) -> CohortSampling:
        """As the ledger's entry says, whatever the sampler does; as the run states it where each client pays."""
        entry = self.entry
        if self._by_clients or self._survivors is not None:
            return self.sampler.law
        separation = 1 if entry.turn is None else entry.turn[1]
        if not isinstance(entry.rate, float | int):
            raise ConfigError(f"{self.name}: a client-level entry has one rate, not {entry.rate}.")
        return CohortSampling(
            kind=entry.sampling,  # type: ignore[arg-type]
            population=self.population,
            cohort=entry.cohort if entry.sampling == "fixed_size" else entry.rate * self.population / separation,
            separation=separation,
            cap=entry.cohort if entry.sampling == "capped_poisson" else 0,
        )

    def federation(
        self, start: Mapping[str, np.ndarray], *, seed: int, permit: Permit, round: int, attempt: int
    ) -> ScriptedFederation:
        nothing = clients_with({0: np.zeros((1, 1))}, population=self.population)
        return ScriptedFederation(
            mechanism=self.mechanism(seed),
            start=start,
            seed=seed,
            permit=permit,
            round=round,
            attempt=attempt,
            make_data=lambda round_: nothing,
            make_trainer=planned_trainer,
            each=self._by_clients,
        )
