"""Budgets of clients' own, by numbers alone: thousands of clients, and lists of clients that make no sense."""

from functools import partial

import numpy as np
import pytest

from fedpriv.accounting import accountants
from fedpriv.accounting.accountants import epsilon
from fedpriv.accounting.budget import Accounting, affordable_rounds
from fedpriv.accounting.client_budgets import ClientBudget, most_times, spent_by_budget, worst_of_all
from fedpriv.accounting.sampled_gaussian import SampledGaussian
from fedpriv.errors import ConfigError

ACCOUNTING = Accounting(delta=1e-5, relation="add_or_remove_one", accountant="rdp")
BUDGET = 2.0


@pytest.fixture
def unlike(monkeypatch):
    """Clients of unlike sizes under one noise, each as often as it allows; so many that boxes would be judged."""
    monkeypatch.setattr(accountants, "_FEW", 4)
    monkeypatch.setattr(accountants, "_PATIENCE", 0)
    released = {}
    for client, rate in enumerate(np.linspace(0.03, 0.08, 6).tolist()):
        once = {SampledGaussian(noise_multiplier=2.0, sampling="poisson", rate=rate, population=0, cohort=0): 10}
        times = most_times(once, spent={}, at_most=200, budget=BUDGET, accounting=ACCOUNTING)
        released[client] = {release: count * times for release, count in once.items()}
    return released


def test_many_clients_at_the_end_of_their_budgets_are_judged_one_by_one(unlike):
    everybody = ClientBudget.of(BUDGET, np.arange(6))
    assert ACCOUNTING.worst(unlike)[0].value > BUDGET, "the box of all is above what each of them spent"
    (spent,) = spent_by_budget(unlike, (everybody,), together=False, accounting=ACCOUNTING)
    exact = [epsilon(c, delta=1e-5, relation="add_or_remove_one", accountant="rdp").value for c in unlike.values()]
    assert spent == max(exact) <= BUDGET


def test_one_of_many_who_exceeds_is_found(unlike):
    (release,) = unlike[3]
    more = {**unlike, 3: {release: unlike[3][release] + 10}}
    with pytest.raises(ConfigError, match="allow epsilon 2, but spent"):
        spent_by_budget(more, (ClientBudget.of(BUDGET, np.arange(6)),), together=False, accounting=ACCOUNTING)


def test_lists_of_clients_are_read_as_they_were_written():
    for ids in ([], [4], [0, 1, 2, 5, 7, 8]):
        budget = ClientBudget.of(1.0, np.array(ids, dtype=np.int64))
        assert ClientBudget(epsilon=1.0, clients=budget.clients).ids.tolist() == ids
        assert budget.size == len(ids)


@pytest.mark.parametrize("clients", ["a", "3-1", "1,1", "2,1", "0-3,2", "1-2-3", "-1", "1,,2", "0-"])
def test_what_is_no_list_of_clients_is_refused(clients):
    with pytest.raises(ConfigError, match="Clients"):
        _ = ClientBudget(epsilon=1.0, clients=clients).ids


def test_a_run_does_not_end_for_the_bound_of_many_if_nobody_exceeds(unlike):
    asked = {"spent": {}, "planned": lambda round_number: unlike, "first_round": 1, "last_round": 1}

    def last_round(worst):
        return affordable_rounds(**asked, budget=BUDGET * (1 + 1e-9), worst=lambda released: worst(released)[0])[0]

    budgets = (ClientBudget.of(BUDGET, np.arange(6)),)
    assert last_round(ACCOUNTING.worst) == 0
    assert last_round(partial(worst_of_all, budgets=budgets, together=False, accounting=ACCOUNTING)) == 1
