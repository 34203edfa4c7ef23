"""Adaptive, per-layer and local mechanisms hold in the kit, and faults planted in them are caught by name."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from fedpriv.accounting.sampling import CohortSampling
from fedpriv.conformance import kit
from fedpriv.conformance.client_level import ClientLevelSubject
from fedpriv.conformance.two_layers import TwoLayers
from fedpriv.errors import ConfigError
from fedpriv.privacy import ClippingGrid, make_sampler
from fedpriv.privacy.mechanisms import CentralAdaptive, CentralPerLayer, LocalGaussian, LocalLaplace

POPULATION, COHORT = 40, 10
LAW = CohortSampling(kind="poisson", population=POPULATION, cohort=COHORT, separation=1, cap=0)


def subject(make):
    """A subject of ``make(streams, sampler)``."""
    return ClientLevelSubject(
        name="made",
        make=make,
        make_sampler=lambda streams: make_sampler(LAW, clients=np.arange(POPULATION), streams=streams),
        population=POPULATION,
    )


def adaptive(kind=CentralAdaptive):
    arguments = {"initial_norm": 1.0, "summands": POPULATION, "target_quantile": 0.5, "clipping_lr": 0.2}
    return subject(
        lambda streams, sampler: kind(
            **arguments, count_noise_std=1.0, sampler=sampler, noise_multiplier=1.0, streams=streams
        )
    )


def per_layer(kind=CentralPerLayer):
    return subject(
        lambda streams, sampler: TwoLayers(
            clipping_norm=1.0, summands=POPULATION, sampler=sampler, noise_multiplier=1.0, streams=streams, make=kind
        )
    )


def local(kind):
    multipliers = np.ones(POPULATION)
    return subject(
        lambda streams, sampler: kind(clipping_norm=1.0, noise_multipliers=multipliers, streams=streams)
    )


RIGHT = {
    "adaptive": adaptive,
    "per layer": per_layer,
    "local Gaussian": partial(local, LocalGaussian),
    "local Laplace": partial(local, LocalLaplace),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in ("adaptive", "local Laplace"))) for name in RIGHT]
)
def test_what_is_right_holds(name):
    rows = {row.property: row for row in kit.measure_subject(RIGHT[name]()).rows}
    assert {n: row.evidence for n, row in rows.items() if row.verdict == "fails"} == {}
    assert rows["noise_std"].verdict == rows["sensitivity_replace"].verdict == rows["ledger"].verdict == "holds"
    own = {"adaptive": "adaptive_clip", "per layer": "dropouts"}.get(name, "noise_independent_clients")
    assert rows[own].verdict == "holds"


# Subclasses of final classes: only tests may cheat.


class CountsWhoIsClipped(CentralAdaptive):
    def encode(self, update, *, senders):
        encoded = super().encode(update, senders=senders)
        encoded.values[:, -1] *= -1
        return encoded


class NoiseOfTheFirstNorm(CentralAdaptive):
    def _noise_std(self, state):
        return self.update_multiplier * self.initial_norm


class NoiseOfTheNextNorm(CentralAdaptive):
    def decode(self, gathered):
        clipped = replace(gathered, state=self.next_state(gathered))
        noise = super().decode(replace(clipped, total=torch.zeros_like(gathered.total)))
        return self._grid(gathered.state).decode(gathered.total[:-1]) / COHORT + noise


class LayersClippedToTheWhole(CentralPerLayer):
    @property
    def _grids(self):
        whole = math.hypot(*(layer.clipping_norm for layer in self.layers))
        return [ClippingGrid(clipping_norm=whole, summands=self.summands)] * len(self.layers)


class NoiseOfOneLayerAlone(CentralPerLayer):
    @property
    def _stds(self):
        stds = [self.noise_multiplier * layer.clipping_norm for layer in self.layers]
        return np.repeat(stds, [layer.size for layer in self.layers])


class NoiseSharedByClients(LocalGaussian):
    def encode(self, update, *, senders):
        return super().encode(update, senders=replace(senders, clients=np.zeros_like(senders.clients)))


class NoiseSharedByRounds(LocalGaussian):
    def encode(self, update, *, senders):
        return super().encode(update, senders=replace(senders, round_number=1))


class NoiseSharedByAttempts(LocalGaussian):
    def encode(self, update, *, senders):
        return super().encode(update, senders=replace(senders, attempt=0))


class ScaleForStandardDeviation(LocalLaplace):
    @staticmethod
    def noise(rng, *, std, size):
        return rng.laplace(scale=std, size=size)


class GaussianForLaplace(LocalLaplace):
    @staticmethod
    def noise(rng, *, std, size):
        return rng.normal(scale=std, size=size)


class Unclipped(LocalLaplace):
    def clip(self, update):
        clipped = super().clip(update)
        return replace(clipped, values=torch.nan_to_num(update.double(), 0, 0, 0).clamp(-1e3, 1e3))


def test_noise_that_is_split_so_that_it_does_not_add_up_is_refused(run_digits, monkeypatch):
    """The update's noise without room for the count's: an entry's parts must make its noise multiplier."""
    monkeypatch.setattr(CentralAdaptive, "update_multiplier", property(lambda self: self.noise_multiplier))
    with pytest.raises(ConfigError, match="another noise_multiplier than its parts together"):
        run_digits("privacy=central_adaptive", "privacy.epsilon=8", "sampling.cohort=4", "rounds=2")


FAULTS = {
    CountsWhoIsClipped: (adaptive, "adaptive_clip"),
    NoiseOfTheFirstNorm: (adaptive, "adaptive_noise"),
    NoiseOfTheNextNorm: (adaptive, "adaptive_noise"),
    LayersClippedToTheWhole: (per_layer, "sensitivity_zero_out"),
    NoiseOfOneLayerAlone: (per_layer, "noise_std"),
    NoiseSharedByClients: (local, "noise_independent_clients"),
    NoiseSharedByRounds: (local, "noise_independent_rounds"),
    NoiseSharedByAttempts: (local, "ledger"),
    ScaleForStandardDeviation: (local, "noise_std"),
    GaussianForLaplace: (local, "noise_law"),
    Unclipped: (local, "sensitivity_zero_out"),
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_planted_fault_is_caught(fault):
    make, property_ = FAULTS[fault]
    found = kit.measure_property(property_, make(fault))
    assert found.verdict == "fails", found.evidence
