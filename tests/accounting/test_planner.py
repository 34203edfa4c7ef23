import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.accounting.plan_words import plan
from fedpriv.accounting.planner import Plan, PlanRequest, make_plan
from fedpriv.errors import ConfigError

REQUEST = PlanRequest(
    unit="client",
    population=3383,
    cohort=120,
    rounds=100,
    noise_multiplier=1.2,
    epsilon=None,
    delta=1e-5,
    accept_weak_delta=False,
    sampling="poisson",
    separation=None,
    cap=None,
    relation="auto",
    accountant="auto",
    parameters=None,
    deployment_population=None,
    deployment_cohort=None,
)


def planned(**changes: Any) -> Plan:
    return make_plan(replace(REQUEST, **changes))


# --- golden values: shared privacy reference (Opacus, dp-accounting and closed forms agree) --------------------


@pytest.mark.parametrize(
    ("words", "epsilon", "tolerance"),
    [
        ("population=3383 cohort=120 rounds=100 noise_multiplier=1.2 delta=1e-5 accountant=rdp", 1.9861, 2e-3),
        ("population=3383 cohort=120 rounds=100 noise_multiplier=1.2 delta=1e-5 accountant=pld", 1.7075, 2e-3),
        ("population=3383 rounds=100 noise_multiplier=1.2 delta=1e-5 sampling=all", 69.457, 1e-3),
        ("population=3383 cohort=120 rounds=100 noise_multiplier=1.2 delta=1e-5 sampling=all", 69.457, 1e-3),
        ("population=1e6 cohort=1000 rounds=1e4 noise_multiplier=1 accountant=rdp", 1.0947, 1e-3),
        ("population=1e6 cohort=1000 rounds=1e4 noise_multiplier=1 accountant=pld", 0.5996, 2e-3),
        ("population=1e6 rounds=1e4 noise_multiplier=1 sampling=all accountant=rdp", 5501.6, 0.05),
        ("population=10 cohort=10 rounds=20 noise_multiplier=5 delta=1e-3 sampling=all", 2.7354, 5e-5),
        ("population=10 cohort=10 rounds=20 noise_multiplier=5 delta=1e-3", 2.7354, 5e-5),
    ],
)
def test_client_level_values_of_the_reference(words: str, epsilon: float, tolerance: float) -> None:
    assert plan(["unit=client", *words.split()]).epsilon == pytest.approx(epsilon, abs=tolerance)


@pytest.mark.parametrize(
    ("n", "batch", "z", "steps", "delta", "opacus_rdp", "pld"),
    [
        (60000, 240, 1.3, 3750, 1e-5, 0.92205, 0.8336),
        (60000, 240, 0.7, 11250, 1e-5, 6.09254, 5.4312),
        (60000, 256, 1.3, 3515, 1e-5, 0.95443, 0.8645),
        (10000, 100, 4.0, 10000, 1e-5, 1.03549, 0.9470),
        (100000, 100, 1.0, 100000, 1e-6, 2.00405, 1.8620),
    ],
)
def test_example_level_values_of_the_reference(
    n: int, batch: int, z: float, steps: int, delta: float, opacus_rdp: float, pld: float
) -> None:
    words = f"unit=example num_examples={n} batch_size={batch} steps={steps} noise_multiplier={z} delta={delta}".split()
    assert plan([*words, "accountant=opacus_rdp"]).epsilon == pytest.approx(opacus_rdp, rel=1e-3)
    assert plan([*words, "accountant=rdp"]).epsilon == pytest.approx(opacus_rdp, rel=2e-3)
    assert plan([*words, "accountant=pld"]).epsilon == pytest.approx(pld, abs=2e-3)


def test_prv_of_the_reference() -> None:
    words = "unit=example num_examples=60000 batch_size=256 steps=3515 noise_multiplier=1.3 delta=1e-5 accountant=prv"
    assert plan(words.split()).epsilon == pytest.approx(0.8745, abs=0.011)


# --- solving back ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    rate=st.floats(0.005, 0.3),
    z=st.floats(0.7, 4.0),
    rounds=st.integers(2, 300),
    relation=st.sampled_from(["add_or_remove_one", "replace_one"]),
)
def test_each_unknown_is_found_back(rate: float, z: float, rounds: int, relation: Any) -> None:
    asked = replace(REQUEST, cohort=max(1, round(3383 * rate)), rounds=rounds, noise_multiplier=z, relation=relation)
    epsilon = make_plan(asked).epsilon
    if not 0.01 < epsilon < 100:
        return
    noise = make_plan(replace(asked, noise_multiplier=None, epsilon=epsilon))
    assert noise.noise_multiplier == pytest.approx(z, rel=2e-3)
    assert noise.epsilon <= epsilon
    assert make_plan(replace(asked, rounds=None, epsilon=epsilon)).rounds == rounds
    assert make_plan(replace(asked, cohort=None, epsilon=epsilon)).cohort == asked.cohort


@pytest.mark.slow
@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    epsilon=st.floats(0.2, 20),
    law=st.sampled_from(
        [
            {"sampling": "poisson"},
            {"sampling": "poisson", "accountant": "rdp"},
            {"sampling": "fixed_size"},
            {"sampling": "fixed_size", "relation": "zero_out"},
            {"sampling": "capped_poisson", "cap": 60},
            {"sampling": "cyclic_poisson", "separation": 4},
            {"sampling": "round_robin", "separation": 20, "cohort": None},
        ]
    ),
)
def test_an_answer_fits_and_one_more_does_not(epsilon: float, law: dict[str, Any]) -> None:
    asked = replace(REQUEST, population=2000, cohort=50, noise_multiplier=4.0, epsilon=epsilon)
    found = make_plan(replace(asked, **law, rounds=None))
    separation = law.get("separation", 1)
    assert found.epsilon <= epsilon
    longer = replace(asked, **law, rounds=found.rounds + max(separation, found.rounds // 50), epsilon=None)
    assert make_plan(longer).epsilon > epsilon
    if law["sampling"] == "round_robin":
        return
    wider = make_plan(replace(asked, **{**law, "cohort": None}))
    assert wider.epsilon <= epsilon
    if wider.cohort < 2000 / separation:
        assert planned(**{**vars(wider.request), "cohort": wider.cohort + 1, "epsilon": None}).epsilon > epsilon


def test_nothing_that_fits_is_an_error_and_everything_a_note() -> None:
    with pytest.raises(ConfigError, match="not allow even one round"):
        planned(epsilon=0.01, rounds=None, noise_multiplier=0.5)
    generous = planned(epsilon=1e5, rounds=None)
    assert generous.rounds == 10_000_000
    assert "or more rounds" in generous.notes[0]
    everybody = planned(epsilon=1e3, cohort=None)
    assert everybody.cohort == 3383
    assert "sampling is not needed" in everybody.notes[0]


# --- what is refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("population=100 cohort=10 rounds=5 noise_multiplier=1 epsilon=2", "Nothing is left"),
        ("population=100 cohort=10 rounds=5", "missing: epsilon, noise_multiplier"),
        ("population=100 sampling=all rounds=5", "missing: epsilon, noise_multiplier"),
        ("cohort=10 rounds=5 epsilon=1", "population is missing"),
        ("population=100 cohort=200 rounds=5 epsilon=1", "at most 100"),
        ("population=100 cohort=10 rounds=0 epsilon=1", "rounds=0"),
        ("population=100 cohort=-1 rounds=3 epsilon=1", "cohort=-1"),
        ("population=100 cohort=10 rounds=5 epsilon=1 delta=0.02", "accept_weak_delta=true"),
        ("population=1 cohort=1 rounds=5 epsilon=1", "no sensible delta"),
        ("population=100 cohort=10 rounds=5 epsilon=1 cap=12", "^cap belongs to sampling=capped_poisson"),
        ("population=100 cohort=10 rounds=5 epsilon=1 sampling=capped_poisson", "needs a cap: cap=N"),
        ("population=100 cohort=10 rounds=5 epsilon=1 sampling=fixed_size relation=add_or_remove_one", "relation="),
        ("population=100 cohort=10 rounds=5 epsilon=1 sampling=fixed_size accountant=pld", "accountant=rdp"),
        ("population=100 cohort=10 rounds=5 epsilon=1 relation=replace_one accountant=rdp", "accountant=pld"),
        ("population=100 cohort=10 rounds=5 epsilon=1 sampling=capped_poisson cap=12 accountant=rdp", "accountant=pld"),
        ("population=100 cohort=10 rounds=5 epsilon=1 sampling=sometimes", "use one of poisson"),
        ("population=100 cohort=10 rounds=5 epsilon=1 populatoin=3", "Did you mean population"),
        ("population=100 cohort=10 rounds=5 epsilon=one", "a number is asked for"),
        ("population=100.5 cohort=10 rounds=5 epsilon=1", "a whole number"),
        ("population=100 cohort=10 rounds=5 epsilon=1 rounds=6", "given twice"),
        ("population=100 cohort=10 rounds=5 epsilon=1 huh", "no KEY=VALUE"),
        ("population=100 cohort=10 rounds=5 epsilon=1 deployment_population=5", "give both"),
    ],
)
def test_what_cannot_be_planned_says_what_to_change(words: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        plan(["unit=client", *words.split()])
    assert "privacy." not in str(refused.value)


def test_example_level_has_keys_of_its_own() -> None:
    with pytest.raises(ConfigError, match="no key rounds"):
        plan(["unit=example", "num_examples=100", "batch_size=10", "rounds=5", "epsilon=1"])
    with pytest.raises(ConfigError, match="Nothing is left"):
        plan(["unit=example", "num_examples=100", "batch_size=10", "steps=5", "noise_multiplier=1", "epsilon=1"])
    with pytest.raises(ConfigError, match="unit=both is unknown"):
        plan(["unit=both"])


# --- what is said beside ---------------------------------------------------------------------------------------


def test_sampling_everybody_counts_no_chance_to_be_left_out() -> None:
    some, everybody = planned(sampling="all"), planned(sampling="all", cohort=None)
    assert some.epsilon == everybody.epsilon
    assert some.cohort == 120
    assert "epsilon is that of a client in every round" in some.notes[0]
    assert everybody.notes == ()


def test_zero_out_of_fixed_size_is_not_amplified_below_what_is_known() -> None:
    zero_out = planned(sampling="fixed_size", relation="zero_out").epsilon
    replaced = planned(sampling="fixed_size").epsilon
    assert planned().epsilon < zero_out <= replaced


def test_a_round_robin_costs_its_turns_only() -> None:
    turns = planned(sampling="round_robin", separation=10, cohort=None, rounds=100)
    assert turns.epsilon == planned(sampling="all", cohort=None, rounds=10).epsilon
    assert turns.cohort == 338.3


def test_delta_follows_the_population() -> None:
    found = planned(delta=None)
    assert found.accounting.delta == 3383**-1.1
    assert found.delta_rule == "n^-1.1 with n = 3383"
    assert planned(delta=1e-3, accept_weak_delta=True).accounting.delta == 1e-3


def test_signal_to_noise_is_what_all_in_agreement_reach() -> None:
    # sum of 120 updates of norm C against noise of norm z C sqrt(d): 120 / (1.2 x 100)
    signal = planned(parameters=10_000).signal
    assert signal is not None
    assert signal.most == pytest.approx(1.0)
    assert signal.cohort_for_one == 120
    capped = planned(parameters=10_000, sampling="capped_poisson", cap=60).signal
    assert capped is not None
    assert capped.most == pytest.approx(0.5)


def test_a_deployment_is_priced_with_the_same_noise_and_with_the_same_noise_on_the_mean() -> None:
    found = planned(delta=None, deployment_population=3_383_000, deployment_cohort=12_000)
    deployment = found.deployment
    assert deployment is not None
    assert deployment.scaled_noise_multiplier == pytest.approx(120)
    alone = planned(population=3_383_000, cohort=12_000, delta=None)
    scaled = planned(population=3_383_000, cohort=12_000, delta=None, noise_multiplier=120.0)
    assert deployment.same_noise_multiplier == alone.epsilon
    assert deployment.scaled == pytest.approx(scaled.epsilon, rel=1e-9)
    assert deployment.delta == alone.accounting.delta
    assert found.to_json()["deployment"]["extrapolation"].endswith("not a guarantee of any run")
    assert found.epsilon == planned(delta=None).epsilon


def test_the_neighbourhood_is_bounded_from_above() -> None:
    found = planned()
    (row,) = found.around(noise_multipliers=[0.6, 1.2, 2.4], rounds=[100])
    assert row[0] > row[1] > row[2]
    assert found.epsilon <= row[1] <= found.epsilon * 1.01


def test_json_holds_every_input_and_resolved_default() -> None:
    told = planned(parameters=100).to_json()
    assert {"unit": "client", "population": 3383, "cohort": 120, "rounds": 100, "noise_multiplier": 1.2}.items() <= (
        told.items()
    )
    assert told["relation"] == "add_or_remove_one"
    assert told["accountant"] == "pld"
    assert told["target_epsilon"] is None
    assert told["signal_to_noise"]["most"] == 10.0
    assert math.isfinite(told["epsilon"])
