"""Clients who leave: the others are drawn as before, as the ledger accounts them, and counted as they are drawn."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from fedpriv.accounting.sampling import cohort_sampling
from fedpriv.conformance.properties.sampling import sampling
from fedpriv.privacy import LeavingSampler, RetiringSampler, make_sampler
from fedpriv.privacy.sampling import AllClients, participations

CLIENTS, ROUNDS = np.arange(60), 2000
BUDGET_OF = (np.arange(60) % 3 == 0).astype(np.int64)  # a third of the clients leave amid the rounds
LAST_ROUNDS = np.array([ROUNDS, 700])
STAY, LEAVE = CLIENTS[BUDGET_OF == 0], CLIENTS[BUDGET_OF == 1]


def drawn_by(new_streams, *, seed=0, kind="poisson", cohort=12.0):
    law = cohort_sampling(kind=kind, population=60, cohort=cohort, separation=None, cap=None)
    return make_sampler(law, clients=CLIENTS, streams=new_streams(seed))


def leaving(new_streams, *, seed=0, kind="poisson", cohort=12.0, made=LeavingSampler):
    everybody = drawn_by(new_streams, seed=seed, kind=kind, cohort=cohort)
    return made(sampler=everybody, clients=CLIENTS, budget_of=BUDGET_OF, last_rounds=LAST_ROUNDS)


class FillingUp(LeavingSampler):
    """Planted fault: those who are left take the others' places, at a rate that nobody accounts."""

    def cohort(self, round_number):
        left = self._there(self.clients, round_number)
        law = replace(self.law, population=len(left))
        return make_sampler(law, clients=left, streams=self.sampler.streams).cohort(round_number)


@dataclass(frozen=True)
class OfThoseWhoStay:
    """As the kit measures cohorts, of the clients whose coins the law must hold for in every round."""

    make: object
    name: str = "those who stay"

    @property
    def accounted_sampling(self):
        law = self.make(0).law
        return replace(law, population=len(STAY), cohort=law.rate * len(STAY))

    def cohort(self, round_number, *, seed):
        return np.flatnonzero(np.isin(STAY, self.make(seed).cohort(round_number)))


def test_who_stays_is_drawn_as_the_ledger_accounts_it(new_streams):
    found = sampling(OfThoseWhoStay(lambda seed: leaving(new_streams, seed=seed)))
    assert found.verdict == "holds", found.evidence


def test_planted_fault_that_those_left_fill_up_the_cohort_is_caught(new_streams):
    found = sampling(OfThoseWhoStay(lambda seed: leaving(new_streams, seed=seed, made=FillingUp)))
    assert found.verdict == "fails"
    assert "inclusion rate" in found.evidence


@pytest.mark.parametrize(("kind", "cohort"), [("poisson", 12.0), ("all", None)])
def test_that_a_client_leaves_moves_no_coin_of_another(kind, cohort, new_streams):
    everybody, those = (make(new_streams, kind=kind, cohort=cohort) for make in (drawn_by, leaving))
    for round_number in (1, 2, 699, 700, 701, 702, 1999):
        left = CLIENTS if round_number <= 700 else STAY
        assert those.cohort(round_number).tolist() == np.intersect1d(everybody.cohort(round_number), left).tolist()
        assert those.budgets(round_number) == ((0, 1) if round_number <= 700 else (0,))
        assert those.expected(round_number) == pytest.approx(everybody.law.rate * len(left))


def test_no_client_takes_part_more_often_than_it_may(new_streams):
    most = np.arange(60) % 5
    for kind, cohort in (("poisson", 12.0), ("fixed_size", 12.0), ("all", None)):
        sampler = RetiringSampler(sampler=drawn_by(new_streams, kind=kind, cohort=cohort), most=most, since=3)
        counts = participations(sampler, first_round=4, last_round=300, population=60)
        assert (counts <= most).all()
        assert counts.sum() == most.sum(), "in so many rounds everybody comes to its end"


def test_only_where_nobody_can_leave_one_round_speaks_for_all(new_streams):
    everybody = drawn_by(new_streams, kind="all", cohort=None)
    assert isinstance(everybody, AllClients)
    assert set(participations(everybody, first_round=1, last_round=9, population=60)) == {9}
    gone = leaving(new_streams, kind="all", cohort=None)
    assert participations(gone, first_round=699, last_round=702, population=60).tolist() == [
        2 if client in LEAVE else 4 for client in CLIENTS
    ]
