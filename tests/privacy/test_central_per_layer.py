"""Per-layer clipping: each layer's norm holds by itself, and all layers together are one release."""

import math

import numpy as np
import pytest
import torch
from halves import gathered, senders

from fedpriv.accounting.ledger import compositions, joint_multiplier
from fedpriv.accounting.sampling import cohort_sampling
from fedpriv.errors import ConfigError
from fedpriv.experiment.privacy.central import layer_norms
from fedpriv.models import ParameterLayout
from fedpriv.privacy import make_sampler
from fedpriv.privacy.mechanisms import CentralPerLayer, LayerNorm

CLIENTS = np.arange(50)
COHORT = 10
LAYERS = [("first", 8000, 0.3), ("second", 12_000, 2.0)]


def make(streams, *, noise_multiplier=1.3, layers=LAYERS):
    law = cohort_sampling(kind="poisson", population=len(CLIENTS), cohort=COHORT, separation=None, cap=None)
    return CentralPerLayer(
        layers=[LayerNorm(name=name, size=size, clipping_norm=norm) for name, size, norm in layers],
        summands=len(CLIENTS),
        sampler=make_sampler(law, clients=CLIENTS, streams=streams),
        noise_multiplier=noise_multiplier,
        streams=streams,
    )


@pytest.fixture
def mechanism(new_streams):
    return make(new_streams(0))


def split(vector):
    return np.split(np.asarray(vector), [LAYERS[0][1]])


def noise_on_sum(mechanism, **position):
    return (mechanism.decode(gathered(mechanism.nothing(20_000), **position)) * COHORT).numpy()


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e6])
def test_each_layer_is_clipped_to_its_own_norm(new_streams, size):
    mechanism = make(new_streams(0), noise_multiplier=0.0)
    update = torch.full((1, 20_000), size / math.sqrt(20_000), dtype=torch.float64)
    encoded = mechanism.encode(update, senders=senders())
    sent = mechanism.decode(gathered(encoded.values[0])) * COHORT
    for part, whole, (_, _, norm) in zip(split(sent), split(update[0]), LAYERS, strict=True):
        assert np.linalg.norm(part) <= norm
        assert np.linalg.norm(part) == pytest.approx(min(norm, np.linalg.norm(whole)), rel=1e-3)
    assert bool(encoded.clipped) == (size > 0.4)


def test_each_layer_has_the_noise_that_the_entry_says_and_together_they_are_the_claim(mechanism, judge):
    entry = mechanism.entry(round_number=1, attempt=0, cohort=CLIENTS[:3])
    assert [part.name for part in entry.parts] == ["first", "second"]
    for noise, part, (_, _, norm) in zip(split(noise_on_sum(mechanism)), entry.parts, LAYERS, strict=True):
        assert part.sensitivity == norm
        assert part.noise_std == pytest.approx(1.3 * math.sqrt(2) * norm)
        assert judge.has_std(noise, part.noise_std)
        for wrong in (1 / math.sqrt(2), 0.95, 1.05):
            assert not judge.has_std(noise, wrong * part.noise_std)
    assert joint_multiplier(entry.parts) == pytest.approx(entry.noise_multiplier, rel=1e-12) == pytest.approx(1.3)


def test_equal_norms_give_every_coordinate_the_noise_of_clipping_as_a_whole(new_streams, judge):
    equal = [(name, size, 0.5 / math.sqrt(2)) for name, size, _ in LAYERS]
    assert judge.has_std(noise_on_sum(make(new_streams(0), layers=equal)), 1.3 * 0.5)


def test_an_update_that_is_not_finite_in_one_layer_is_dropped_whole(mechanism):
    update = torch.full((1, 20_000), 0.1)
    update[0, -1] = math.nan
    encoded = mechanism.encode(update, senders=senders())
    assert not encoded.values.any()
    assert bool(encoded.clipped)


def test_noise_is_independent_across_rounds_and_attempts_and_layers(mechanism, judge):
    noises = [noise_on_sum(mechanism, round_number=r, attempt=a) for r in (1, 2) for a in (0, 1)]
    assert judge.are_independent(noises)
    first, second = split(noises[0])
    assert judge.are_independent([first, second[: len(first)]])


def test_plan_is_what_the_ledger_will_hold(mechanism):
    entries = [mechanism.entry(round_number=r, attempt=0, cohort=CLIENTS) for r in range(3, 10)]
    planned = mechanism.planned(np.ones(50, dtype=np.int64), first_round=3, last_round=9, attempt=0)
    assert planned == compositions(entries)


LAYOUT = ParameterLayout(
    names=("conv.weight", "conv.bias", "fc.weight", "scale"),
    shapes=((2, 3), (2,), (4, 2), ()),
    dtypes=(torch.float32,) * 4,
)


def test_a_layer_is_a_module_and_shares_the_norm_equally():
    layers = layer_norms(LAYOUT, norm=3.0, own={})
    assert [(layer.name, layer.size) for layer in layers] == [("conv", 8), ("fc", 8), ("scale", 1)]
    assert [layer.clipping_norm for layer in layers] == pytest.approx([math.sqrt(3)] * 3)


def test_a_layer_may_have_a_norm_of_its_own_and_a_pattern_that_fits_none_is_refused():
    norms = {layer.name: layer.clipping_norm for layer in layer_norms(LAYOUT, norm=3.0, own={"c*": 0.5})}
    assert norms == {"conv": 0.5, "fc": pytest.approx(math.sqrt(3)), "scale": pytest.approx(math.sqrt(3))}
    with pytest.raises(ConfigError, match=r"no layer is fc2; there are conv, fc, scale"):
        layer_norms(LAYOUT, norm=3.0, own={"fc2": 0.5})
