"""Every property accepts what is right, and names what is not. Faults are planted in a toy; toy.py says how."""

import pytest
from toy import Toy, law

from fedpriv.conformance.kit import measure_property, measure_subject

FAULTS = [
    ({"clips_too_late": 1.1}, "sensitivity_add_remove"),
    ({"clips_too_late": 1.1}, "sensitivity_replace"),
    ({"clips_too_late": 1.1}, "sensitivity_zero_out"),
    ({"weighs_by_examples": True}, "weighting"),
    ({"divides_by_arrivals": True}, "denominator"),
    ({"divides_by_arrivals": True, "noise_for_the_planned_cohort": True}, "dropouts"),
    ({"noise_factor": 1 / 2}, "noise_std"),
    ({"noise_factor": 2 / 3}, "noise_std"),
    ({"noise_factor": 3 / 2}, "noise_std"),
    ({"noise_factor": 0.95}, "noise_std"),
    ({"noise_factor": 0.0}, "noise_std"),
    ({"not_noised": "bias"}, "noise_std"),
    ({"law": "laplace"}, "noise_law"),
    ({"law": "uniform"}, "noise_law"),
    ({"law": "cut"}, "noise_law"),
    ({"claimed_law": "laplace"}, "noise_law"),
    ({"layers_share_noise": True}, "noise_independent_coordinates"),
    ({"same_noise_each_round": True}, "noise_independent_rounds"),
    ({"seed_of_32_bits": True}, "seeds"),
    ({"seed_plus_round": True}, "seeds"),
    ({"fails_on_empty": True}, "empty_cohort"),
    ({"divides_by_norm": True}, "zero_update"),
    ({"lets_nan_pass": True}, "nan_update"),
    ({"scalars_unclipped": True}, "scalar_parameters"),
    ({"integers_leave": True}, "integer_parameters"),
    ({"ledger_lost": True}, "ledger"),
    ({"same_noise_after_resume": True}, "ledger"),
    ({"event": "client_rate_times_example_rate"}, "event"),
    ({"event": "unpaid"}, "event"),
    ({"event": "batches_twice_as_large"}, "event"),
    *[({"draws": kind}, "sampling") for kind in ("fixed_size", "pairs", "same_twice", "favourites", "too_often")],
    ({"draws": "poisson", "law_of_cohorts": law("fixed_size")}, "sampling"),
    ({"draws": "poisson", "law_of_cohorts": law("capped_poisson", cap=12)}, "sampling"),
    ({"draws": "early_again", "law_of_cohorts": law("round_robin", separation=5)}, "sampling"),
    ({"draws": "poisson", "law_of_cohorts": law("cyclic_poisson", separation=5, cohort=5)}, "sampling"),
    ({"draws": "poisson", "law_of_cohorts": law("all", cohort=50)}, "sampling"),
]
LAWS = {
    "fixed_size": law("fixed_size"),
    "capped_poisson": law("capped_poisson", cap=12),
    "all": law("all", cohort=50),
    "round_robin": law("round_robin", separation=5),
    "turns_of_coins": law("cyclic_poisson", separation=5, cohort=5),
}


def told(fault):
    return ", ".join(f"{key}={value}" for key, value in fault.items() if key != "law_of_cohorts")


@pytest.mark.slow
def test_a_right_mechanism_holds():
    assert measure_subject(Toy()).failed == []


@pytest.mark.slow
def test_a_right_adaptive_mechanism_holds():
    verdicts = measure_subject(Toy(adaptive=True))
    assert verdicts.failed == []
    assert verdicts["adaptive_clip"].verdict == verdicts["adaptive_noise"].verdict == "holds"


@pytest.mark.parametrize(("fault", "name"), FAULTS, ids=lambda value: told(value) if isinstance(value, dict) else value)
def test_a_fault_is_caught_by_name(fault, name):
    finding = measure_property(name, Toy(faults=fault))
    assert finding.verdict == "fails", finding.evidence


@pytest.mark.parametrize(
    ("fault", "name"),
    [("wrong_sign", "adaptive_clip"), ("noise_of_updated_norm", "adaptive_noise")],
)
def test_a_fault_of_adaptive_clipping_is_caught_by_name(fault, name):
    finding = measure_property(name, Toy(adaptive=True, faults={fault: True}))
    assert finding.verdict == "fails", finding.evidence


@pytest.mark.parametrize("draws", LAWS)
def test_a_cohort_drawn_as_accounted_holds(draws):
    finding = measure_property("sampling", Toy(faults={"draws": draws, "law_of_cohorts": LAWS[draws]}))
    assert finding.verdict == "holds", finding.evidence


def test_laplace_noise_that_is_claimed_holds():
    subject = Toy(faults={"law": "laplace", "claimed_law": "laplace"})
    for name in ("noise_std", "noise_law", "zero_update"):
        finding = measure_property(name, subject)
        assert finding.verdict == "holds", finding.evidence


@pytest.mark.slow
def test_coins_that_cannot_be_set_are_averaged():
    right, wrong = (Toy(faults={"coins_of_the_system": True, "clips_too_late": factor}) for factor in (1.0, 3.0))
    for subject, verdict in ((right, "holds"), (wrong, "fails")):
        finding = measure_property("sensitivity_replace", subject)
        assert finding.verdict == verdict, finding.evidence
        assert "do not repeat" in finding.evidence


def test_a_fault_leaves_other_properties_alone():
    failed = {row.property for row in measure_subject(Toy(faults={"noise_factor": 0.5})).failed}
    assert failed <= {"noise_std", "empty_cohort", "zero_update", "scalar_parameters", "dropouts"}
