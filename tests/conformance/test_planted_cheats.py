"""Faults that show only off the beaten track: in late rounds, large cohorts, dense updates, between two norms."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from faults import POISSON, central

from fedpriv.accounting.sampling import CohortSampling
from fedpriv.conformance import kit
from fedpriv.privacy import CohortSampler
from fedpriv.privacy.mechanisms import CentralGaussian
from fedpriv.privacy.sampling import PoissonSampler
from fedpriv.streams import Streams

pytestmark = pytest.mark.slow

_SAID = 9  # the weight of every client
_CLIPPING_NORM = 1.0


class WithoutNoise(CentralGaussian):
    """A tenth of the noise where ``quiet`` says so."""

    def decode(self, gathered):
        noisy = super().decode(gathered)
        exact = self.grid.decode(gathered.total) / self.sampler.law.cohort
        quiet = self.quiet(exact * self.sampler.law.cohort, gathered.weight / _SAID, gathered.round_number)
        return exact + (noisy - exact) * (0.1 if quiet else 1.0)

    def quiet(self, total, arrived, round_number):
        raise NotImplementedError


class QuietWhereTheSumIsLarge(WithoutNoise):
    def quiet(self, total, arrived, round_number):
        return float(torch.linalg.vector_norm(total)) > 2 * _CLIPPING_NORM


class QuietWhereManyCame(WithoutNoise):
    def quiet(self, total, arrived, round_number):
        return arrived > 1.05 * POISSON.cohort


class QuietWhereFewCame(WithoutNoise):
    def quiet(self, total, arrived, round_number):
        return 0 < arrived < POISSON.cohort / 2


class QuietFromRoundEight(WithoutNoise):
    def quiet(self, total, arrived, round_number):
        return 8 <= round_number < 2**30


class NoiseEverySevenRounds(CentralGaussian):
    def decode(self, gathered):
        return super().decode(replace(gathered, round_number=gathered.round_number % 7))


class SameNoiseAtTheSecondResume(CentralGaussian):
    def decode(self, gathered):
        return super().decode(replace(gathered, attempt=min(gathered.attempt, 1)))


class FirstCoordinatesClipped(CentralGaussian):
    """Every layer but the first passes."""

    def encode(self, update, *, senders):
        first = self.grid.encode(update[..., :100])
        passing = (torch.nan_to_num(update[..., 100:], 0, 0, 0).clamp(-1e3, 1e3) / self.grid.step).long()
        return replace(first, values=torch.cat([first.values, passing], dim=-1))


class TrainedUpdatesTwice(CentralGaussian):
    """The clipping of what has many coordinates, as every real update, is to twice the norm."""

    def encode(self, update, *, senders):
        encoded = super().encode(update, senders=senders)
        twice = (torch.count_nonzero(update, dim=-1) > 50).long() + 1
        return replace(encoded, values=encoded.values * twice[..., None])


class MiddlingNormsPass(CentralGaussian):
    def encode(self, update, *, senders):
        encoded = super().encode(update, senders=senders)
        middling = (encoded.norm > 5) & (encoded.norm < 1000)
        passing = (update.double().nan_to_num(0, 0, 0) / self.grid.step).long()
        return replace(encoded, values=torch.where(middling[..., None], passing, encoded.values))


class EntryUnderstatesFromRoundTwo(CentralGaussian):
    def entry(self, *, round_number, attempt, cohort):
        entry = super().entry(round_number=round_number, attempt=attempt, cohort=cohort)
        return entry if round_number < 2 else replace(entry, rate=entry.rate / 10, noise_std=entry.noise_std * 10)


MECHANISMS = {
    QuietWhereTheSumIsLarge: "noise_std",
    QuietWhereManyCame: "noise_std",
    QuietWhereFewCame: "noise_std",
    QuietFromRoundEight: "noise_std",
    NoiseEverySevenRounds: "noise_independent_rounds",
    FirstCoordinatesClipped: "sensitivity_zero_out",
    TrainedUpdatesTwice: "sensitivity_add_remove",
    MiddlingNormsPass: "sensitivity_zero_out",
    EntryUnderstatesFromRoundTwo: "ledger",
    SameNoiseAtTheSecondResume: "ledger",
}
SLOW = {TrainedUpdatesTwice, QuietWhereManyCame, QuietWhereFewCame}  # each has a like one that is fast


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Draws cohorts like the Poisson sampler that is accounted, one by one; and in some other way together."""

    law: CohortSampling
    clients: np.ndarray
    streams: Streams

    def honest(self) -> CohortSampler:
        return PoissonSampler(law=self.law, clients=self.clients, streams=self.streams)

    def expected(self, round_number):
        return self.law.cohort

    def budgets(self, round_number):
        return None


class PublicCohorts(Drawn):
    """Anybody can draw them."""

    def cohort(self, round_number):
        return self.clients[np.random.default_rng(round_number).random(len(self.clients)) < self.law.rate]


class AgainAfterFiveHundredRounds(Drawn):
    def cohort(self, round_number):
        return self.honest().cohort((round_number - 1) % 500 + 1)


class TwoCohortsTwiceInFourRounds(Drawn):
    def cohort(self, round_number):
        block, place = divmod(round_number - 1, 4)
        return self.honest().cohort(4 * block + place % 2 + 1)


@pytest.mark.parametrize(
    ("mechanism", "property_"),
    [
        pytest.param(fault, name, id=f"{fault.__name__}: {name}", marks=[pytest.mark.slow] if fault in SLOW else [])
        for fault, name in MECHANISMS.items()
    ],
)
def test_a_fault_off_the_beaten_track_is_caught(mechanism, property_):
    assert kit.measure_property(property_, central(mechanism)).verdict == "fails"


@pytest.mark.parametrize("sampler", [PublicCohorts, AgainAfterFiveHundredRounds, TwoCohortsTwiceInFourRounds])
def test_cohorts_that_tell_of_other_cohorts_are_caught(sampler):
    assert kit.measure_property("sampling", central(sampler=sampler)).verdict == "fails"
