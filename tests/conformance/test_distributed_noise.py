"""Shares of noise under a secure sum hold in the kit, and faults planted in them are caught by name."""

import math
from dataclasses import replace

import numpy as np
import pytest

from fedpriv.accounting.sampling import CohortSampling
from fedpriv.conformance import kit
from fedpriv.conformance.client_level import ClientLevelSubject
from fedpriv.privacy import make_sampler
from fedpriv.privacy.mechanisms import DistributedGaussian
from fedpriv.privacy.pairwise_masks import PairwiseMasks

POPULATION, SURVIVORS = 10, 5
LAW = CohortSampling(kind="all", population=POPULATION, cohort=POPULATION, separation=1, cap=0)


def subject(kind=DistributedGaussian, *, bits=30, masks=PairwiseMasks):
    def made(streams, sampler):
        return kind(
            clipping_norm=1.0,
            size=2**15,
            cohort=POPULATION,
            survivors=SURVIVORS,
            granularity=2.0**-20,
            num_clients=POPULATION,
            noise_multiplier=1.0,
            secure_sum=masks(bits=bits, streams=streams),
            streams=streams,
        )

    return ClientLevelSubject(
        name="made",
        make=made,
        make_sampler=lambda streams: make_sampler(LAW, clients=np.arange(POPULATION), streams=streams),
        population=POPULATION,
    )


@pytest.mark.slow
def test_what_is_right_holds():
    rows = {row.property: row for row in kit.measure_subject(subject()).rows}
    assert {n: row.evidence for n, row in rows.items() if row.verdict == "fails"} == {}
    for name in ("noise_std", "sensitivity_zero_out", "sensitivity_replace", "dropouts", "ledger", "empty_cohort"):
        assert rows[name].verdict == "holds"


@pytest.mark.slow
@pytest.mark.parametrize("property_", ["noise_std", "dropouts", "nan_update"])
def test_what_is_right_holds_in_short(property_):
    found = kit.measure_property(property_, subject())
    assert found.verdict == "holds", found.evidence


# Subclasses of final classes: only tests may cheat. Shares that repeat over rounds are caught in
# tests/privacy/test_distributed.py: every round rotates them another way, so that releases do not show them.


class SharesForAll(DistributedGaussian):
    """As if the whole cohort answered, whoever does."""

    def quantised(self, vector, *, noise_multiplier, **position):
        few = math.sqrt(SURVIVORS / POPULATION)
        return super().quantised(vector, noise_multiplier=noise_multiplier * few, **position)


class OneShareForAll(DistributedGaussian):
    def quantised(self, vector, *, client, **position):
        return super().quantised(vector, client=0, **position)


class Unclipped(DistributedGaussian):
    def encode(self, update, *, senders):
        return replace(self, clipping_norm=4.0).encode(update, senders=senders)


class GoesOnWithTooFew(DistributedGaussian):
    def decode(self, gathered):
        return replace(self, survivors=1).decode(gathered)


class RevealsSingleShares(DistributedGaussian):
    """Divides by who answered: a client's weight depends on the others."""

    def decode(self, gathered):
        mean = super().decode(gathered)
        return None if mean is None else mean * POPULATION / len(gathered.answered)


FAULTS = {
    SharesForAll: "noise_std",
    OneShareForAll: "noise_std",
    Unclipped: "sensitivity_zero_out",
    GoesOnWithTooFew: "noise_std",
    RevealsSingleShares: "denominator",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_planted_fault_is_caught(fault):
    found = kit.measure_property(FAULTS[fault], subject(fault))
    assert found.verdict == "fails", found.evidence


def test_a_modulus_that_is_too_small_is_caught():
    found = kit.measure_property("noise_std", subject(bits=21))
    assert found.verdict == "fails", found.evidence


class OneWay(PairwiseMasks):
    def _between(self, round_number, attempt, client, other, size):
        return self._words(round_number, attempt, min(client, other), max(client, other), size)


def test_masks_that_do_not_cancel_are_caught():
    found = kit.measure_property("noise_std", subject(masks=OneWay))
    assert found.verdict == "fails", found.evidence
