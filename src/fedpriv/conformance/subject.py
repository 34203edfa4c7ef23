"""What the kit can measure: anything that plays a script of planted contributions and shows what it releases.

A property sees a subject through ``Subject`` alone, whether it is a mechanism of ours, a Flower strategy or a client
mod. What not every subject can show is a Protocol of its own below; a property that needs it is not applicable to
subjects without.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from fedpriv.accounting.ledger import ReleaseEntry
from fedpriv.accounting.sampled_gaussian import Relation, SampledGaussian
from fedpriv.accounting.sampling import CohortSampling

# Releaser of what the server makes public; a client id where clients add the noise, and each one's message is seen.
SERVER = -1

Release = Mapping[int, np.ndarray]
"""Releaser -> what an observer sees of it in one round: the parameters' movement, float64, shape (d,), in the order
of ``Script.start``. A client that sent nothing is not there. A server that released nothing did not move."""


# -- what is played ----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Report:
    """What one protected unit contributes to one round.

    At client level a report is a client's trained model. At example level it is one example of that client, and a
    client may have several: ``update`` is the step that the example alone would make, minus its gradient.

    Attributes:
        update: parameter -> trained minus global, as the parameter in shape; real, also where the parameter is integer.
        num_examples: what the client says that it trained on; without meaning at example level.
    """

    client: int
    update: Mapping[str, np.ndarray]
    num_examples: int


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round: who is asked, and what arrives. Who is asked and has no report has dropped out.

    At example level a client holds as many examples as its public size (``Claim.cohort``), whatever arrives; those
    without a report have a gradient of zero.
    """

    asked: tuple[int, ...]
    reports: tuple[Report, ...]


@dataclass(frozen=True, kw_only=True)
class Script:
    """Rounds to be played, round 1 first.

    Attributes:
        start: parameter -> global value before round 1, mostly zeros. May hold 0-d, empty and integer arrays.
    """

    start: Mapping[str, np.ndarray]
    rounds: tuple[Round, ...]


# -- what is claimed ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a subject says of itself, in the units of its release: a claim about a sum is divided by its denominator.

    Attributes:
        unit: what is protected.
        sensitivity: relation -> L2 norm that one unit can move one release by; only relations that are claimed.
        noise_std: standard deviation of the noise in one release, per coordinate.
        noise_law: ``gaussian`` or ``laplace``; the kit knows no others.
        noise_by: ``server`` (one release a round, by ``SERVER``) or ``clients`` (one for each client).
        cohort: units of an ordinary round: the clients 0 ... cohort - 1, or the examples of client 0. For a cohort at
            random the expected one, rounded up.
        target_quantile: share of updates that adaptive clipping leaves unclipped in the long run; None where the
            clipping norm is fixed. Then ``sensitivity`` and ``noise_std`` are those of round 1.
        survivors: where the noise of one release is made of shares, how many of them have ``noise_std`` together; more
            have more, and with fewer nothing is released. None where the noise is the same whoever answers.
    """

    unit: Literal["client", "example"]
    sensitivity: Mapping[Relation, float]
    noise_std: float
    noise_law: Literal["gaussian", "laplace"]
    noise_by: Literal["server", "clients"]
    cohort: int
    target_quantile: float | None
    survivors: int | None

    def noise_with(self, answering: int) -> float:
        """Standard deviation of the noise where so many of the cohort answer; 0 where nothing is released then."""
        if self.survivors is None:
            return self.noise_std
        return self.noise_std * math.sqrt(answering / self.survivors) if answering >= self.survivors else 0.0


class Subject(Protocol):
    """A mechanism, strategy or mod that can be measured.

    Attributes:
        name: as a person reads it.
    """

    @property
    def name(self) -> str: ...

    @property
    def claim(self) -> Claim: ...

    def play(self, script: Script, *, seed: int) -> Sequence[Release]:
        """A fresh instance plays the script; one release for each round.

        The same script and seed give the same coins wherever the subject lets its coins be set. An error of the
        subject's own is raised as it is: the property that plays judges it.
        """
        ...


# -- what only some can show -------------------------------------------------------------------------------


@runtime_checkable
class KeepsLedger(Protocol):
    """Writes down what it releases, so that a resumed run knows."""

    def play_resumed(
        self, before: Script, after: Script, *, seed: int
    ) -> tuple[Sequence[Release], Sequence[ReleaseEntry]]:
        """Dies after the last round of ``before`` was released and before that round was saved; then goes on.

        The resumed run starts from the state before that last round and plays all rounds of ``after``, the first
        of which has the same number as the one that was lost.

        Returns:
            Everything that left, in order, the lost round and its repetition both; what the ledger holds at the end.
        """
        ...


@runtime_checkable
class SamplesCohorts(Protocol):
    """Draws its own cohorts, of the clients 0 ... population - 1."""

    @property
    def accounted_sampling(self) -> CohortSampling:
        """What they are accounted as."""
        ...

    def cohort(self, round_number: int, *, seed: int) -> np.ndarray:
        """Client ids (int64), sorted. Round numbers start at 1."""
        ...


@dataclass(frozen=True, kw_only=True)
class LocalSteps:
    """One round, as it concerns one target example.

    Attributes:
        included: for each noisy step that the federation took in the round, whether it held the example: bool, shape
            (steps,); empty, or all False, where its client was not asked.
        charged: what the ledger's entries of the round charge the example's participant for: each Poisson-sampled
            Gaussian release, with the number of steps. Other participants' releases are left out.
    """

    included: np.ndarray
    charged: Mapping[SampledGaussian, int]


@runtime_checkable
class TakesLocalSteps(Protocol):
    """Protects examples by noise in every local step."""

    def local_steps(self, *, rounds: int, seed: int) -> Sequence[LocalSteps]:
        """Really draws who is asked and who is in which batch, ``rounds`` times."""
        ...


@runtime_checkable
class AdaptsClipping(Protocol):
    """Has a clipping norm that follows the updates' norms (Andrew et al. 2021)."""

    def clipping_norms(self, script: Script, *, seed: int) -> Sequence[float]:
        """The clipping norm that each round used, and the one that the round after the last would use."""
        ...


@dataclass(frozen=True, kw_only=True)
class Promise:
    """An (epsilon, delta) under the relations of the claim, without a word on how many releases it is for."""

    epsilon: float
    delta: float


@runtime_checkable
class PromisesEpsilon(Protocol):
    """Names the privacy that its noise is to give, as well as the noise."""

    @property
    def promise(self) -> Promise | None:
        """None where it does not, this time."""
        ...


@runtime_checkable
class KeysItsNoise(Protocol):
    """Draws noise as a function of numbers that can be given freely, beyond what a script can reach."""

    def noise(self, *, seed: int, round_number: int, attempt: int, client: int, size: int) -> np.ndarray:
        """What ``client`` (or ``SERVER``) adds to a release of ``size`` zeros in that round: float64, shape (size,).

        Args:
            attempt: how often the round was begun before, and lost.
        """
        ...


@runtime_checkable
class StatesReleases(Protocol):
    """Says what it would write down of any round."""

    def stated(self, *, round_number: int, attempt: int, cohort: np.ndarray) -> ReleaseEntry | None:
        """The ledger's entry of a round that asks these clients (ids, sorted); None where it would write none."""
        ...
