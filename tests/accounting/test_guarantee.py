"""What a ledger earns under its terms, and the statement that is made of it."""

import json
import math
import re
from dataclasses import replace

import pytest

from fedpriv.accounting.client_budgets import ClientBudget
from fedpriv.accounting.guarantee import BUDGETS, EVIDENCE, no_claim, state_guarantee
from fedpriv.accounting.ledger import ReleaseEntry
from fedpriv.accounting.statement import SECTIONS, markdown, whole_statement
from fedpriv.accounting.terms import Terms
from fedpriv.errors import ConfigError

PROVENANCE = {"name": "smoke", "run_id": "abc123", "revision": "r1", "packages": {"torch": "2"}}


def terms(**changes):
    cohorts = {"kind": "poisson", "population": 50, "cohort": 5.0, "separation": 1, "cap": 0, "rate": 0.1}
    known = {
        "mechanism": "central",
        "unit": "client",
        "delta": 1e-3,
        "delta_rule": "given",
        "relation": "add_or_remove_one",
        "accountant": "pld",
        "num_examples": 400,
        "num_clients": 50,
        "noise_rng": "numpy's Philox",
        "noise_secret": False,
        "sampling_run": {"cohorts": cohorts, "batches": {"kind": "epochs"}},
        "noisy_steps_per_round": {"min": 1, "max": 1},
        "weighting": "every client counts once",
        "denominator": "the public expected cohort, 5",
        "dropout_policy": "adds zero",
        "dropout_rate": 0.0,
        "seeds": {"data": 0, "noise": 0},
        "public_data": False,
        "initial_weights": "drawn",
        "client_budgets": (),
        "caveats": ("a caveat",),
    }
    return Terms(**{**known, **changes})


def entry(number=1, **changes):
    known = {
        "mechanism": "central_gaussian",
        "unit": "client",
        "round": number,
        "attempt": 0,
        "noise_law": "gaussian",
        "sensitivity": 0.5,
        "sampling": "poisson",
        "population": 50,
        "cohort": 0,
        "turn": None,
        "clients": "commitment",
        "rate": 0.1,
        "noise_multiplier": 2.0,
        "noise_std": 1.0,
        "steps": 1,
        "group": None,
    }
    return ReleaseEntry(**{**known, **changes})


def of_examples(number=1, **changes):
    own = {"mechanism": "example_dpsgd", "unit": "example", "sensitivity": 1.0, "clients": (0, 3), "cohort": 2}
    columns = {"rate": (0.1, 0.2), "noise_multiplier": (1.0, 1.5), "noise_std": (1.0, 1.5), "steps": (10, 4)}
    return entry(number, **{**own, **columns, **changes})


ENTRIES = [entry(number) for number in range(1, 5)]


# -- a guarantee -------------------------------------------------------------------------------------------


def test_a_client_level_guarantee_names_all_that_a_reviewer_asks_for():
    said = state_guarantee(ENTRIES, terms=terms()).to_json()
    expected = {
        "unit": "client",
        "relation": "add_or_remove_one",
        "trust_model": "central",
        "population": 50,
        "bound": "upper bound",
        "mu": None,
        "accountant_version": "dp-accounting 0.6.0",
        "sampling": {"kind": "poisson", "of": "clients into cohorts", "rate_min": 0.1, "rate_max": 0.1},
        "sampling_assumed": {"kind": "poisson", "rate_max": 0.1, "population": None, "cohort": None},
        "rounds": 4,
        "releases": 4,
        "participation_cap": 4,
        "attempts": 1,
        "norm": {"name": "clipping_norm", "value": 0.5, "fixed": True},
        "sensitivity": 0.5,
        "sensitivity_under_relation": 0.5,
        "noise_multiplier_min": 2.0,
        "worst_client": None,
        "simulation_only": True,
        "evidence": "no audit was run",
    }
    assert {key: said[key] for key in expected} == expected
    assert {key: said[key] for key in terms().to_json()} == terms().to_json()
    assert len(said["threat_matrix"]) == 8
    assert {"epsilon": said["epsilon"], "delta": 1e-3} in said["curve"]["points"]
    assert "a caveat" in said["not_covered"]
    assert json.loads(json.dumps(said)) == said


TWO = (ClientBudget(epsilon=0.9, clients="0-19"), ClientBudget(epsilon=None, clients="20-49"))
OF_TWO = [entry(1, budgets=(0, 1)), entry(2, budgets=(0, 1)), entry(3, budgets=(1,)), entry(4, budgets=(1,))]


def test_a_round_that_several_budgets_pay_for_is_one_release():
    said = state_guarantee(OF_TWO, terms=terms(client_budgets=TWO))
    everybody = state_guarantee(ENTRIES, terms=terms())
    assert (said.releases, said.participation_cap) == (everybody.releases, 4)
    assert said.epsilon == said.spent_by_budget[1] == everybody.epsilon
    assert said.spent_by_budget[0] == state_guarantee(ENTRIES[:2], terms=terms()).epsilon < 0.9


def test_that_budgets_and_retirement_are_public_is_said_where_there_are_some():
    said = state_guarantee(OF_TWO, terms=terms(client_budgets=TWO))
    assert BUDGETS in said.not_covered
    assert BUDGETS not in state_guarantee(ENTRIES, terms=terms()).not_covered
    seen = next(cell for cell in said.threat_matrix if (cell.unit, cell.observer) == ("client", "other_clients"))
    assert seen.because.startswith("Who has retired follows from public budgets")


@pytest.mark.parametrize(
    ("entries", "lists", "told"),
    [
        ([*OF_TWO[:3], entry(4, budgets=())], ("0-19", "20-49"), "names budgets"),
        ([*OF_TWO[:3], entry(4, budgets=(0, 1))], ("0-19", "20-49"), "come back"),
        (OF_TWO, ("0-19", "19-49"), "none of the budgets, or in two"),
        (OF_TWO, ("0-18", "20-49"), "none of the budgets, or in two"),
        (OF_TWO, ("0-18", "18-48"), "none of the budgets, or in two"),
        (OF_TWO, ("0-19", "twenty"), "no list of ids"),
    ],
)
def test_budgets_that_cannot_be_those_of_the_run_are_refused(entries, lists, told):
    """A round that nobody pays for, clients who come back, clients who are counted twice."""
    changed = tuple(replace(budget, clients=clients) for budget, clients in zip(TWO, lists, strict=True))
    with pytest.raises(ConfigError, match=told):
        state_guarantee(entries, terms=terms(client_budgets=changed))


def test_under_replace_one_the_sum_moves_twice_as_far():
    said = state_guarantee(ENTRIES, terms=terms(relation="replace_one"))
    assert (said.sensitivity, said.sensitivity_under_relation) == (0.5, 1.0)
    assert said.epsilon > 1.2 * state_guarantee(ENTRIES, terms=terms()).epsilon


def test_what_is_assumed_may_be_another_sampling_than_the_one_that_ran():
    turns = [replace(e, sampling="round_robin", rate=1.0, turn=((e.round - 1) % 2, 2)) for e in [*ENTRIES, entry(5)]]
    cohorts = {"kind": "round_robin", "population": 50, "cohort": 25.0, "separation": 2, "cap": 0, "rate": 1.0}
    said = state_guarantee(turns, terms=terms(sampling_run={"cohorts": cohorts, "batches": {}}))
    assert said.sampling["kind"] == "round_robin"
    assert said.sampling_assumed["kind"] == "all"
    assert (said.rounds, said.releases, said.participation_cap) == (5, 5, 3)
    assert said.mu == pytest.approx(math.sqrt(3) / 2, rel=1e-9)


def test_at_example_level_each_client_has_its_own():
    steps = {"min": 1, "max": 10}
    started = terms(mechanism="example", unit="example", noisy_steps_per_round=steps)
    said = state_guarantee([of_examples(1), of_examples(2, clients=(3, 4))], terms=started)
    assert (said.unit, said.trust_model, said.population) == ("example", "local", 400)
    assert said.worst_client in (0, 3)
    assert (said.releases, said.participation_cap) == (28, 14)
    assert (said.norm["name"], said.noise_multiplier_min, said.noise_multiplier_max) == ("max_grad_norm", 1.0, 1.5)
    assert (said.sampling["rate_min"], said.sampling["rate_max"]) == (0.1, 0.2)
    assert {cell.epsilon for cell in said.threat_matrix} == {said.epsilon, None}


def test_with_a_secret_key_nothing_is_simulation_only():
    said = state_guarantee(ENTRIES, terms=terms(noise_secret=True))
    assert said.simulation_only is False
    assert not any("simulation" in item for item in said.not_covered)


@pytest.mark.parametrize("noise", [0.0, 1e-9])
def test_without_noise_or_releases_nothing_is_claimed(noise):
    assert state_guarantee([], terms=terms()) is None
    assert state_guarantee([entry(noise_std=noise, noise_multiplier=2 * noise)], terms=terms()) is None


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ([entry(1), entry(2, sensitivity=0.25)], "mixes"),
        ([entry(1), entry(2, sampling="all", rate=1.0)], "mixes"),
        ([entry(1), of_examples(2)], "mixes"),
        ([entry(1, noise_law="laplace")], "nothing here adds up"),
        ([entry(1, group="tree")], "nothing here adds up"),
        ([of_examples(1)], "example_dpsgd's for each example, but the run was started with privacy=central"),
        ([entry(1), entry(2, rate=0.05)], "round 2 has population, cohort, turn and rate"),
        ([entry(1, population=500)], "round 1 has"),
        ([entry(1, turn=(0, 2))], "round 1 has"),
        ([entry(1), entry(2, noise_std=5.0)], "noise_std is not"),
        ([entry(1), entry(2, steps=0)], "no step"),
        ([entry(1, sampling="all", rate=1.0)], "sampling is all, but the run was started with poisson"),
    ],
)
def test_a_ledger_that_is_not_what_the_terms_say_is_refused(entries, told):
    with pytest.raises(ConfigError, match=told):
        state_guarantee(entries, terms=terms())


def test_terms_survive_the_log():
    logged = json.loads(json.dumps(terms().to_json()))
    assert Terms.from_json(logged) == terms()
    with pytest.raises(KeyError, match="weighting"):
        Terms.from_json({key: value for key, value in logged.items() if key != "weighting"})


# -- the statement -----------------------------------------------------------------------------------------


def statement(guarantee, of=None):
    told = {"provenance": PROVENANCE, "config_sha256": "f" * 64, "evidence": EVIDENCE}
    return whole_statement([guarantee], terms=[of or terms()], **told)


def test_a_run_that_claims_nothing_has_the_same_keys_and_no_epsilon():
    none = terms(mechanism="none", unit=None, delta=None, delta_rule=None, relation=None, accountant=None)
    empty, full = statement(None, none), statement(state_guarantee(ENTRIES, terms=terms()))
    assert empty.keys() == full.keys()
    assert (empty["epsilon"], empty["delta"], empty["curve"]) == (None, None, None)
    assert {(cell["epsilon"], cell["because"]) for cell in empty["threat_matrix"]} == {(None, "No noise is added.")}
    assert "No differential privacy is claimed" in markdown(empty)
    assert not re.search(r"\d-differential", markdown(empty))
    assert no_claim(none, evidence=EVIDENCE).keys() < empty.keys()


def test_every_field_is_told_once():
    full = statement(state_guarantee(ENTRIES, terms=terms()))
    told = [key for keys in SECTIONS.values() for key in keys]
    assert sorted([*told, "also", "curve", "not_covered", "threat_matrix"]) == sorted(full)


def test_the_reviewers_page_holds_claim_matrix_curve_and_what_to_run():
    full = statement(state_guarantee(ENTRIES, terms=terms()))
    page = markdown(full)
    assert f"({math.ceil(full['epsilon'] * 1e4) / 1e4:.4f}, 0.001)-differential privacy for adding or removing" in page
    assert "Simulation only" in page
    assert len(re.findall(r"^\| (?:example|client) \|", page, flags=re.MULTILINE)) == 8
    assert page.count("It sees updates without noise.") == 2
    rows = re.findall(r"^\| (\d[\d.e-]*) \| (\d[\d.e-]*) \|$", page, flags=re.MULTILINE)
    assert len(rows) == len(full["curve"]["points"])
    for (epsilon, delta), point in zip(rows, full["curve"]["points"], strict=True):
        assert point["epsilon"] <= float(epsilon) <= point["epsilon"] * 1.00001
        assert point["delta"] <= float(delta) <= point["delta"] * 1.00001
    assert "* a caveat" in page
    assert "`fedpriv verify RUN`" in page
    assert "no audit was run" in page


def test_names_and_caveats_cannot_break_the_page():
    hostile = "a|b `c`\n| d | <script> **e** [f](g) _h_ # i"
    full = statement(state_guarantee(ENTRIES, terms=terms(caveats=(hostile,), seeds={hostile: 1})))
    full["name"] = hostile
    page, plain = markdown(full), markdown(statement(state_guarantee(ENTRIES, terms=terms())))
    assert page.count("\n") == plain.count("\n")
    assert "<script>" not in page
    for line in page.splitlines():
        if line.startswith("|"):
            columns = len(re.findall(r"(?<!\\)\|", line)) - 1
            assert columns in (2, 6), line
    assert r"a\|b \`c\` \| d \| &lt;script&gt; \*\*e\*\* \[f\](g) \_h\_ \# i" in page
