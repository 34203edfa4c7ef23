"""The kit catches each planted fault by the name of the property that it breaks; what is right holds."""

import pytest
from faults import (
    EXAMPLE_FAULTS,
    MECHANISM_FAULTS,
    MOD_FAULTS,
    SAMPLING_FAULTS,
    STRATEGY_FAULTS,
    Adaptive,
    Central,
    Local,
    LocalWithBudget,
    central,
    example,
    of_32_bits,
    shared_between_clients,
)
from flwr.serverapp.strategy import Strategy

from fedpriv.conformance import example_level, kit, mechanism_subject, scripted_federation
from fedpriv.conformance.flower_mods import mod_subject
from fedpriv.conformance.flower_strategies import strategy_subject
from fedpriv.conformance.kit import measure
from fedpriv.records.hashchain import HashChain
from fedpriv.streams import Streams, seed_key


def verdict(property_, subject):
    return kit.measure_property(property_, subject).verdict


def in_flowers_dialect(target):
    subject = strategy_subject if issubclass(target, Strategy) else mod_subject
    return subject(target, {}, {}, name=target.__name__)


def by_name(faults):
    return [pytest.param(fault, property_, id=f"{fault.__name__}: {property_}") for fault, property_ in faults.items()]


@pytest.mark.slow
@pytest.mark.parametrize(
    "right",
    [
        Central,
        pytest.param(Local, marks=pytest.mark.slow),
        pytest.param(Adaptive, marks=pytest.mark.slow),
        pytest.param(LocalWithBudget, marks=pytest.mark.slow),
    ],
)
def test_what_is_right_holds(right):
    measure(right, {}).assert_holds()


@pytest.mark.slow
@pytest.mark.parametrize("right", [central, example])
def test_our_mechanisms_hold(right):
    kit.measure_subject(right()).assert_holds()


@pytest.mark.parametrize("property_", ["noise_std", "adaptive_noise"])
def test_adaptive_clipping_as_published_holds(property_):
    assert verdict(property_, in_flowers_dialect(Adaptive)) == "holds"


@pytest.mark.parametrize("property_", ["promised_epsilon", "composition"])
def test_a_mod_that_stops_when_its_budget_is_spent_holds(property_):
    assert verdict(property_, in_flowers_dialect(LocalWithBudget)) == "holds"


@pytest.mark.parametrize(("fault", "property_"), by_name(MECHANISM_FAULTS))
def test_a_fault_in_the_central_mechanism_is_caught(fault, property_):
    assert verdict(property_, central(fault)) == "fails"


@pytest.mark.parametrize("sampler", SAMPLING_FAULTS)
def test_a_cohort_accounted_as_poisson_that_is_not(sampler):
    assert verdict("sampling", central(sampler=sampler)) == "fails"


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "property_"), by_name(EXAMPLE_FAULTS))
def test_a_fault_in_dp_sgd_is_caught(fault, property_):
    assert verdict(property_, example(fault)) == "fails"


@pytest.mark.parametrize(
    ("engine", "maker"),
    [("vectorized", "DpSgd"), pytest.param("opacus", "OpacusTrainer", marks=pytest.mark.slow)],
)
def test_clipping_examples_to_twice_the_norm_is_caught(engine, maker, monkeypatch):
    make = getattr(example_level, maker)

    def generous(*, max_grad_norm, **settings):
        return make(max_grad_norm=2 * max_grad_norm, **settings)

    monkeypatch.setattr(example_level, maker, generous)
    assert verdict("sensitivity_zero_out", example(engine=engine)) == "fails"


@pytest.mark.parametrize("engine", ["vectorized", pytest.param("opacus", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("generator", "property_"), [(shared_between_clients, "noise_independent_clients"), (of_32_bits, "seeds")]
)
def test_noise_of_dp_sgd_that_two_clients_share_is_caught(engine, generator, property_, monkeypatch):
    monkeypatch.setattr(Streams, "torch_generator", generator)
    assert verdict(property_, example(engine=engine)) == "fails"


@pytest.mark.parametrize("subject", [central, example])
def test_a_run_seed_cut_to_32_bits_is_caught(subject, monkeypatch):
    monkeypatch.setattr(scripted_federation, "seed_key", lambda seed: seed_key(seed % 2**32))
    assert verdict("seeds", subject()) == "fails"


@pytest.mark.parametrize("subject", [central, example])
def test_a_ledger_that_a_resumed_run_has_lost_is_caught(subject, monkeypatch):
    class Forgetful(HashChain):
        @classmethod
        def open(cls, path, **trusted):
            path.unlink(missing_ok=True)
            return HashChain.open(path, **trusted)

    monkeypatch.setattr(mechanism_subject, "HashChain", Forgetful)
    assert verdict("ledger", subject()) == "fails"


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "property_"), by_name(STRATEGY_FAULTS | MOD_FAULTS))
def test_a_fault_in_flowers_dialect_is_caught(fault, property_):
    assert verdict(property_, in_flowers_dialect(fault)) == "fails"
