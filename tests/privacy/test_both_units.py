"""Both units at once: two entries a round, two guarantees, and local noise that knows nothing of coins to come."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.accounting.sampling import CohortSampling
from fedpriv.config import compose
from fedpriv.conformance import kit
from fedpriv.conformance.client_level import ClientLevelSubject
from fedpriv.errors import ConfigError
from fedpriv.experiment.assembly import Experiment
from fedpriv.privacy import ClippingGrid, RetiringSampler, make_sampler
from fedpriv.privacy.mechanisms import BothUnits, CentralGaussian, ExampleGaussian
from fedpriv.verification import verify

POPULATION, COHORT = 40, 10
LAW = CohortSampling(kind="poisson", population=POPULATION, cohort=COHORT, separation=1, cap=0)
BOTH = ("privacy=both_units", "sampling.cohort=4", "privacy.epsilon=6", "privacy.example_epsilon=3")


def both(streams, sampler, central=CentralGaussian):
    return BothUnits(
        client=central(
            grid=ClippingGrid(clipping_norm=1.0, summands=POPULATION),
            sampler=sampler,
            noise_multiplier=1.0,
            streams=streams,
        ),
        example=ExampleGaussian(
            max_grad_norm=1.0,
            layer_norms={},
            rates=np.full(POPULATION, 0.25),
            steps=np.full(POPULATION, 4),
            noise_multipliers=np.full(POPULATION, 1.5),
        ),
    )


def subject(central=CentralGaussian):
    return ClientLevelSubject(
        name="both",
        make=lambda streams, sampler: both(streams, sampler, central),
        make_sampler=lambda streams: make_sampler(LAW, clients=np.arange(POPULATION), streams=streams),
        population=POPULATION,
    )


def made(new_streams, seed=0):
    streams = new_streams(seed)
    return both(streams, make_sampler(LAW, clients=np.arange(POPULATION), streams=streams))


# -- the mechanism -----------------------------------------------------------------------------------------


def test_a_round_has_the_entries_of_both_halves(new_streams):
    mechanism = made(new_streams)
    key = {"round_number": 3, "attempt": 1, "cohort": np.array([2, 5, 7])}
    of_clients, of_examples = mechanism.entries(**key, state={})
    assert of_clients == mechanism.client.entry(**key)
    assert of_examples == mechanism.example.entry(**key)
    assert [entry.unit for entry in (of_clients, of_examples)] == [half.unit for half in mechanism.halves]
    assert of_examples.clients == (2, 5, 7)
    assert of_examples.noise_std == (1.5,) * 3


def test_clients_add_the_local_noise_and_the_server_the_other(new_streams):
    mechanism = made(new_streams)
    assert mechanism.local_noise_multipliers(np.array([1, 3])).tolist() == [1.5, 1.5]
    assert mechanism.client.local_noise_multipliers(np.array([1])).tolist() != [1.5]
    assert torch.equal(mechanism.nothing(5), torch.zeros(5, dtype=torch.int64))


@pytest.mark.parametrize("property_", ["sensitivity_zero_out", "noise_std", "ledger", "sampling", "nan_update"])
def test_what_is_right_holds(property_):
    assert kit.measure_property(property_, subject()).verdict == "holds"


class HalvesTheServersNoise(CentralGaussian):
    def decode(self, gathered):
        return CentralGaussian.decode(replace(self, noise_multiplier=self.noise_multiplier / 2), gathered)


class RedrawnNoise(CentralGaussian):
    def decode(self, gathered):
        return super().decode(replace(gathered, round_number=1))


@pytest.mark.parametrize(
    ("fault", "property_"), [(HalvesTheServersNoise, "noise_std"), (RedrawnNoise, "noise_independent_rounds")]
)
def test_a_planted_fault_is_caught(fault, property_):
    found = kit.measure_property(property_, subject(fault))
    assert found.verdict == "fails", found.evidence


# -- coins to come -----------------------------------------------------------------------------------------


def noise_of(*overrides):
    experiment = Experiment.assemble(compose(["experiment=digits_smoke", *BOTH, *overrides], config_dir=None))
    return experiment.privacy.noise_multipliers()


def test_local_noise_depends_on_no_coin_of_a_cohort():
    """Else the round's outputs would tell of later coins, and the client level's amplification were void."""
    noise = [noise_of(f"seeds.sampling={seed}") for seed in range(4)]
    assert all(np.array_equal(noise[0], other) for other in noise[1:])
    assert (noise_of("sampling.participation_cap=1")[1:] < noise[0][1:]).all()


@given(
    cohorts=st.lists(st.sets(st.integers(0, 5)), min_size=1, max_size=12),
    cap=st.integers(1, 3),
    asked=st.lists(st.integers(1, 12), max_size=6),
)
def test_nobody_takes_part_more_often_than_the_cap(cohorts, cap, asked):
    class Drawn:
        law = LAW

        def cohort(self, round_number):
            return np.array(sorted(cohorts[round_number - 1]), dtype=np.int64)

    sampler = RetiringSampler(sampler=Drawn(), most=np.full(6, cap), since=0)
    for round_number in asked:  # in any order, the same
        if round_number <= len(cohorts):
            sampler.cohort(round_number)
    taken = [sampler.cohort(r) for r in range(1, len(cohorts) + 1)]
    for client in range(6):
        drawn = [r for r, cohort in enumerate(cohorts) if client in cohort]
        assert [r for r, cohort in enumerate(taken) if client in cohort] == drawn[:cap]


# -- runs --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ran(run_digits):
    return run_digits(*BOTH)


def test_a_run_earns_both(ran):
    of_clients, of_examples = ran.record.guarantees
    assert ran.record.guarantee == of_clients
    assert (of_clients["unit"], of_examples["unit"]) == ("client", "example")
    assert 5.9 < of_clients["epsilon"] <= 6
    assert 1 < of_examples["epsilon"] <= 3
    assert of_examples["population"] > of_clients["population"]
    assert of_examples["delta"] < of_clients["delta"]
    names = [json.loads(line)["mechanism"] for line in (ran.folder / "ledger.jsonl").read_text().splitlines()]
    assert names == ["central_gaussian", "example_dpsgd"] * ran.record.rounds


def test_it_verifies_and_what_is_changed_of_either_half_does_not(ran, tmp_path):
    assert verify(ran.folder).holds
    assert "# Also, for each example" in (ran.folder / "guarantee.md").read_text()
    for index in (0, 1):
        copy = tmp_path / f"{index}" / ran.folder.name
        shutil.copytree(ran.folder, copy)
        record = json.loads((copy / "run.json").read_text())
        record["guarantees"][index]["epsilon"] *= 0.9
        (copy / "run.json").write_text(json.dumps(record))
        assert not verify(copy).holds


def test_each_budget_stops_the_run(run_digits):
    fixed = ("privacy.noise_multiplier=2", "privacy.example_noise_multiplier=1")
    free = run_digits(*BOTH[:2], *fixed, "privacy.epsilon=null", "privacy.example_epsilon=null")
    of_clients, of_examples = free.record.guarantees
    for key, spent in (("epsilon", of_clients["epsilon"]), ("example_epsilon", of_examples["epsilon"])):
        other = "epsilon" if key == "example_epsilon" else "example_epsilon"
        less = run_digits(*BOTH[:2], *fixed, f"privacy.{other}=null", f"privacy.{key}={0.8 * spent}")
        assert less.record.status == "stopped_at_budget"
        assert less.record.rounds < free.record.rounds


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (("privacy.epsilon=inf",), "for one alone use privacy=central or privacy=example"),
        (("privacy.example_epsilon=null",), "needs privacy.example_epsilon"),
        (("privacy.example_delta=2",), "privacy.example_delta=2.0 must be below 1"),
    ],
)
def test_half_a_promise_is_refused(overrides, told):
    with pytest.raises(ConfigError, match=told):
        compose(["experiment=digits_smoke", *BOTH, *overrides], config_dir=None)
