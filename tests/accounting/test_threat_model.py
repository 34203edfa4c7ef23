"""Every cell of the matrix, against dp-accounting and closed forms called directly.

Tolerances: PLD absolute 2e-3, RDP relative 1e-3, closed forms relative 1e-6.
"""

import math

import dp_accounting
import pytest
from absl import logging as absl_logging
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant
from scipy import stats
from scipy.optimize import brentq

from fedpriv.accounting.budget import Accounting
from fedpriv.accounting.sampling import CohortSampling
from fedpriv.accounting.threat_model import OBSERVERS, UNITS, central_matrix, local_matrix, no_guarantee

absl_logging.set_verbosity(absl_logging.ERROR)  # dp-accounting warns of every order that it leaves out

N, COHORT, ROUNDS, Z, DELTA, EXAMPLES = 60, 12, 8, 3.0, 1e-3, 700
CAP = 16
REPLACE = dp_accounting.NeighboringRelation.REPLACE_ONE
ADD_OR_REMOVE = dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE

LAWS = {
    "poisson": CohortSampling(kind="poisson", population=N, cohort=COHORT, separation=1, cap=0),
    "capped_poisson": CohortSampling(kind="capped_poisson", population=N, cohort=COHORT, separation=1, cap=CAP),
    "fixed_size": CohortSampling(kind="fixed_size", population=N, cohort=COHORT, separation=1, cap=0),
    "all": CohortSampling(kind="all", population=N, cohort=N, separation=1, cap=0),
    "round_robin": CohortSampling(kind="round_robin", population=N, cohort=20, separation=3, cap=0),
    "cyclic_poisson": CohortSampling(kind="cyclic_poisson", population=N, cohort=COHORT, separation=3, cap=0),
}
TURNS = {"round_robin": 3, "cyclic_poisson": 3}  # of 8 rounds, at most
RELATIONS = {
    "poisson": ("add_or_remove_one", "replace_one", "zero_out"),
    "capped_poisson": ("add_or_remove_one", "replace_one", "zero_out"),
    "fixed_size": ("replace_one", "zero_out"),
    "all": ("add_or_remove_one", "replace_one", "zero_out"),
    "round_robin": ("add_or_remove_one", "replace_one", "zero_out"),
    "cyclic_poisson": ("add_or_remove_one", "replace_one", "zero_out"),
}
CASES = [(kind, relation) for kind, relations in RELATIONS.items() for relation in relations]


# -- independent numbers -----------------------------------------------------------------------------------


def gaussian(moved: float, rounds: int) -> float:
    """Balle & Wang 2018, Theorem 8: mu = moved sqrt(T) / z."""
    mu = moved * math.sqrt(rounds) / Z

    def excess(epsilon: float) -> float:
        return float(
            stats.norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * stats.norm.cdf(-mu / 2 - epsilon / mu) - DELTA
        )

    return float(brentq(excess, 0, 50, xtol=1e-12))


def pld(event: dp_accounting.DpEvent, relation: dp_accounting.NeighboringRelation, rounds: int) -> float:
    accountant = PLDAccountant(relation, 1e-3)
    accountant.compose(event, rounds)
    return float(accountant.get_epsilon(DELTA))


def replaced(kind: str) -> float:
    """One client's update replaced by another, for one who does not know its participations."""
    noise = dp_accounting.GaussianDpEvent(Z)
    if kind in ("all", "round_robin"):
        return gaussian(2, TURNS.get(kind, ROUNDS))
    if kind in ("poisson", "cyclic_poisson"):
        rate = 0.2 if kind == "poisson" else 0.6
        return pld(dp_accounting.PoissonSampledDpEvent(rate, noise), REPLACE, TURNS.get(kind, ROUNDS))
    if kind == "capped_poisson":
        event = dp_accounting.TruncatedSubsampledGaussianDpEvent(N, 0.2, CAP, Z)
        return pld(event, REPLACE, ROUNDS)
    accountant = RdpAccountant(neighboring_relation=REPLACE)
    half = dp_accounting.GaussianDpEvent(Z / 2)  # the library does not double the sensitivity by itself
    accountant.compose(dp_accounting.SampledWithoutReplacementDpEvent(N, COHORT, half), ROUNDS)
    return min(float(accountant.get_epsilon(DELTA)), gaussian(2, ROUNDS))


# -- the matrix --------------------------------------------------------------------------------------------


def matrix(kind, relation, examples=EXAMPLES):
    law = LAWS[kind]
    accounting = Accounting(delta=DELTA, relation=relation, accountant="rdp" if kind == "fixed_size" else "pld")
    released = {who: {law.release(Z): turns} for who, turns in law.turns(1, ROUNDS).items()}
    headline, _ = accounting.worst(released)
    cells = central_matrix(
        sampling=kind,
        released=released,
        epsilon=headline.value,
        accounting=accounting,
        num_examples=examples,
        some_retire=False,
    )
    assert [(cell.unit, cell.observer) for cell in cells] == [(u, o) for u in UNITS for o in OBSERVERS]
    return headline.value, {(cell.unit, cell.observer): cell for cell in cells}


def close(value):
    return pytest.approx(value, abs=2e-3, rel=1e-3)


@pytest.mark.parametrize(("kind", "relation"), CASES)
def test_servers_that_see_updates_or_sums_without_noise_are_no_ones_guarantee(kind, relation):
    _, cells = matrix(kind, relation)
    for unit in UNITS:
        for server in ("curious_server", "secure_aggregation_server"):
            cell = cells[unit, server]
            assert (cell.epsilon, cell.delta, cell.relation) == (None, None, None)
            assert "without noise" in cell.because


@pytest.mark.parametrize(("kind", "relation"), CASES)
def test_the_final_model_has_the_ledgers_epsilon_for_a_client(kind, relation):
    headline, cells = matrix(kind, relation)
    cell = cells["client", "final_model"]
    assert (cell.epsilon, cell.delta, cell.relation) == (headline, DELTA, relation)


@pytest.mark.parametrize(("kind", "relation"), CASES)
def test_an_example_is_worth_a_replaced_update_whatever_the_clients_relation(kind, relation):
    headline, cells = matrix(kind, relation)
    cell = cells["example", "final_model"]
    assert (cell.delta, cell.relation) == (DELTA, "replace_one")
    assert cell.epsilon == close(replaced(kind))
    assert "replaces its client's update by another, whatever in it changed" in cell.because
    if relation == "add_or_remove_one" and kind != "capped_poisson":
        assert cell.epsilon > 1.2 * headline, "carried over from another relation"


@pytest.mark.parametrize(("kind", "relation"), CASES)
@pytest.mark.parametrize("unit", UNITS)
def test_the_other_clients_are_answered_by_what_their_participations_tell(kind, relation, unit):
    _, cells = matrix(kind, relation)
    cell, own = cells[unit, "other_clients"], cells[unit, "final_model"]
    told = relation if unit == "client" else "replace_one"
    if kind not in ("fixed_size", "capped_poisson"):
        assert (cell.epsilon, cell.relation) == (own.epsilon, own.relation)
    elif told == "add_or_remove_one":
        assert (cell.epsilon, cell.relation) == (None, None)
        assert "below the cap" in cell.because
    else:
        moved = 1 if (kind, told) == ("fixed_size", "zero_out") else 2
        assert cell.epsilon == pytest.approx(gaussian(moved, ROUNDS), rel=1e-6)
        assert cell.relation == told
        assert cell.epsilon > own.epsilon * 0.999, "who sees more is never promised more"


def test_a_delta_too_large_for_so_many_examples_is_told():
    for unit, told in (("example", True), ("client", False)):
        for observer in ("final_model", "other_clients"):
            for kind in ("poisson", "fixed_size"):
                _, cells = matrix(kind, "replace_one", examples=1000)
                assert ("Weak: delta" in cells[unit, observer].because) is told
    _, cells = matrix("poisson", "replace_one", examples=999)
    assert not any("Weak" in cell.because for cell in cells.values())


def test_noise_at_the_clients_holds_against_everybody_for_an_example_and_nobody_for_a_client():
    accounting = Accounting(delta=DELTA, relation="zero_out", accountant="pld")
    cells = local_matrix(epsilon=2.5, accounting=accounting)
    assert [(cell.unit, cell.observer) for cell in cells] == [(u, o) for u in UNITS for o in OBSERVERS]
    for cell in cells:
        claimed = (2.5, DELTA, "zero_out") if cell.unit == "example" else (None, None, None)
        assert (cell.epsilon, cell.delta, cell.relation) == claimed
        post = cell.unit == "example" and cell.observer != "curious_server"
        assert cell.because.startswith("Post-processing") is post
    assert all("group privacy" in cell.because for cell in cells if cell.unit == "client")


def test_without_noise_nothing_is_claimed():
    cells = no_guarantee("No noise is added.")
    assert [(cell.unit, cell.observer) for cell in cells] == [(u, o) for u in UNITS for o in OBSERVERS]
    assert {(cell.epsilon, cell.delta, cell.relation, cell.because) for cell in cells} == {
        (None, None, None, "No noise is added.")
    }


def test_noise_too_small_to_be_told_from_none_is_no_guarantee():
    law = LAWS["fixed_size"]
    accounting = Accounting(delta=DELTA, relation="replace_one", accountant="rdp")
    cells = central_matrix(
        sampling="fixed_size",
        released={-1: {law.release(1e-9): 1}},
        epsilon=math.inf,
        accounting=accounting,
        num_examples=EXAMPLES,
        some_retire=False,
    )
    assert all(cell.epsilon is None for cell in cells)
