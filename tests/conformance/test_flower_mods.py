"""Client mods of Flower and of one's own; what LocalDpMod of Flower 1.41 does not hold."""

import math
import re

import numpy as np
import pytest
from faults import Local, LocalWithBudget
from flower_table import FAILS, TARGETS
from flwr.clientapp.mod import LocalDpMod, arrays_size_mod, fixedclipping_mod

from fedpriv.conformance.flower_mods import mod_subject
from fedpriv.conformance.kit import measure, measure_property
from fedpriv.conformance.subject import Report, Round, Script
from fedpriv.errors import ConfigError

PLAIN = {"clipping_norm": 1.0, "sensitivity": 1.0, "epsilon": 1.0, "delta": 1e-5}


def script(*clients, rounds=1):
    reports = tuple(Report(client=k, update={"w": np.full(100, 0.01)}, num_examples=9) for k in clients)
    return Script(
        start={"w": np.zeros(100, dtype=np.float32)}, rounds=(Round(asked=tuple(clients), reports=reports),) * rounds
    )


def local(**changed):
    claims = {"relation": changed.pop("relation")} if "relation" in changed else {}
    return mod_subject(LocalDpMod, {**PLAIN, **changed}, claims, name="LocalDpMod")


# -- playing -----------------------------------------------------------------------------------------------


def test_each_clients_message_is_seen_with_noise_of_its_own():
    (release,) = local().play(script(3, 7), seed=1)
    assert set(release) == {3, 7}
    assert np.std(release[3]) == pytest.approx(4.84, rel=0.3)
    assert abs(np.corrcoef(release[3], release[7])[0, 1]) < 0.5


def test_equal_seeds_give_equal_noise():
    one, again, other = (local().play(script(3), seed=seed)[0][3] for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_a_mod_finds_what_it_kept_in_its_clients_context():
    subject = mod_subject(LocalWithBudget, {}, {}, name="LocalWithBudget")
    releases = subject.play(script(1, rounds=12), seed=1)
    assert [len(release) for release in releases] == [1] * 10 + [0] * 2


def test_a_mod_is_made_anew_for_each_message():
    made = []

    def factory():
        made.append(Local())
        return made[-1]

    mod_subject(factory, {}, {}, name="factory").play(script(1, 2, rounds=2), seed=1)
    assert len(made) >= 4


# -- claims ------------------------------------------------------------------------------------------------


def test_local_dp_mod_claims_its_own_formula_and_any_two_inputs():
    claim = local(epsilon=2.0).claim
    assert claim.sensitivity == {"replace_one": 1.0}
    assert claim.noise_std == pytest.approx(math.sqrt(2 * math.log(1.25e5)) / 2)
    assert claim.noise_by == "clients"


def test_another_mods_epsilon_is_claimed_to_be_met_exactly():
    claim = mod_subject(LocalWithBudget, {}, {"noise_multiplier": 24.0}, name="").claim
    assert claim.noise_std == 24.0
    claims = {"epsilon": 1.0, "delta": 1e-5, "sensitivity": 2.0}
    silent = mod_subject(lambda: arrays_size_mod, {}, claims, name="")
    assert silent.claim.noise_std == pytest.approx(2 * 3.730632, rel=1e-5)  # Balle & Wang 2018, Algorithm 1
    assert (silent.promise.epsilon, silent.promise.delta) == (1.0, 1e-5)


def test_noise_is_read_off_the_mod_in_units_of_its_clipping_norm():
    claim = mod_subject(Local, {"clipping_norm": 0.5}, {}, name="Local").claim
    assert claim.noise_std == 1.0
    assert claim.sensitivity == {"replace_one": 1.0}
    assert mod_subject(Local, {}, {"relation": "zero_out"}, name="Local").claim.sensitivity == {"zero_out": 1.0}


@pytest.mark.parametrize(
    ("mod", "claims", "said"),
    [
        (arrays_size_mod, {}, "does not say its clipping norm"),
        (arrays_size_mod, {"sensitivity": 1.0}, "does not say its noise std"),
        (fixedclipping_mod, {"sensitivity": 1.0, "noise_std": 1.0}, "ordinary message with an error.*'clipping_norm'"),
        (arrays_size_mod, {"sensitivity": 1.0, "epsilon": 1.0}, "does not say its delta"),
        (arrays_size_mod, {"cohort": 5}, "nothing can be claimed by claim.cohort"),
    ],
)
def test_what_cannot_be_measured_is_told_with_the_mend(mod, claims, said):
    with pytest.raises(ConfigError, match=said):
        mod_subject(lambda: mod, {}, claims, name="mod")


# -- Flower's own ------------------------------------------------------------------------------------------

FOUND = [
    ({}, "noise_std", "holds", "claimed 4.84481"),
    ({}, "weighting", "holds", ""),
    # noise for the clipping norm, where two clients' reports are twice that apart
    ({}, "sensitivity_replace", "fails", "at most 2 .*claimed 1"),
    ({}, "promised_epsilon", "fails", r"epsilon 1\.6\d+ at delta 1e-05 under replace_one, promised 1"),
    ({"sensitivity": 2.0}, "sensitivity_replace", "holds", "at most 2 .*claimed 2"),
    ({"sensitivity": 2.0}, "promised_epsilon", "holds", r"epsilon 0\.7\d+ .*promised 1"),
    ({"relation": "zero_out"}, "promised_epsilon", "holds", r"epsilon 0\.7\d+ .*promised 1"),
    # the classical formula is proved for epsilon below 1, and gives too little noise for large ones
    ({"sensitivity": 2.0, "epsilon": 8.0}, "promised_epsilon", "holds", r"epsilon 7\.[89]\d* .*promised 8"),
    ({"sensitivity": 2.0, "epsilon": 10.0}, "promised_epsilon", "fails", r"epsilon 10\.[34]\d* .*promised 10"),
    ({"sensitivity": 2.0, "epsilon": 20.0}, "promised_epsilon", "fails", r"epsilon 25\.\d+ .*promised 20"),
    # ten messages, one budget
    ({"sensitivity": 2.0}, "composition", "fails", r"10 of 10 rounds released.* epsilon 2\.\d+ .*promised 1"),
    pytest.param(
        *({}, "scalar_parameters", "fails", r"at most 2e\+06 .*noise of standard deviation 0 over"),
        marks=pytest.mark.slow,
    ),
    ({}, "zero_update", "fails", "ZeroDivisionError"),
    ({}, "nan_update", "fails", "NaN or infinity"),
    ({}, "integer_parameters", "fails", "UFuncTypeError"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "property_", "verdict", "evidence"), FOUND)
def test_local_dp_mod(arguments, property_, verdict, evidence):
    row = measure_property(property_, local(**arguments))
    assert row.verdict == verdict, row.evidence
    assert re.search(evidence, row.evidence), row.evidence


@pytest.mark.slow
def test_no_more_and_no_less_fails_of_local_dp_mod():
    verdicts = measure(*TARGETS["LocalDpMod"])
    assert {row.property for row in verdicts.failed} == FAILS["LocalDpMod"]


def test_what_is_looked_at_here_is_what_the_table_says():
    rows = [getattr(row, "values", row) for row in FOUND]
    plain = [(property_, verdict) for arguments, property_, verdict, _ in rows if not arguments]
    assert all((verdict == "fails") == (property_ in FAILS["LocalDpMod"]) for property_, verdict in plain)
