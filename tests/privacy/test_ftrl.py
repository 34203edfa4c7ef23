"""Correlated noise: sensitivities by brute force, noise that is taken back, groups in the ledger, turns kept."""

import itertools
import json
import math
from dataclasses import replace

import dp_accounting
import numpy as np
import pytest
import torch
from dp_accounting.rdp import RdpAccountant
from halves import gathered
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.accounting.accountants import epsilon
from fedpriv.accounting.budget import add
from fedpriv.accounting.gaussian_dp import gaussian_epsilon
from fedpriv.accounting.groups import Groups
from fedpriv.accounting.guarantee import state_guarantee
from fedpriv.accounting.ledger import LedgerTables, compositions
from fedpriv.accounting.sampling import CohortSampling, cohort_sampling
from fedpriv.accounting.terms import Terms
from fedpriv.accounting.tree import TreeRound, squared_sensitivity
from fedpriv.conformance import kit
from fedpriv.conformance.client_level import ClientLevelSubject
from fedpriv.errors import ConfigError
from fedpriv.experiment.privacy.ftrl import best_restart
from fedpriv.privacy import ClippingGrid, make_sampler
from fedpriv.privacy.encoders import BandedEncoder, TreeEncoder
from fedpriv.privacy.mechanisms import FtrlBanded, FtrlTree
from fedpriv.verification import verify

POPULATION, SEPARATION, ROUNDS, SIZE = 24, 4, 16, 3000
CLIENTS = np.arange(POPULATION)
SUM = POPULATION / SEPARATION
ZERO = torch.zeros(SIZE, dtype=torch.int64)


def law(kind="round_robin", cohort=None, separation=SEPARATION):
    return cohort_sampling(kind=kind, population=POPULATION, cohort=cohort, separation=separation, cap=None)


def make(kind, streams, *, noise_multiplier=1.5, sampling=None, rounds=ROUNDS, restart_every=None, **own):
    if kind is FtrlBanded or issubclass(kind, FtrlBanded):
        own.setdefault("bands", SEPARATION)
    return kind(
        grid=ClippingGrid(clipping_norm=2.0, summands=POPULATION),
        groups=Groups(rounds=rounds, restart_every=restart_every or rounds),
        sampler=make_sampler(sampling or law(), clients=CLIENTS, streams=streams),
        noise_multiplier=noise_multiplier,
        streams=streams,
        **own,
    )


def matrix(encoder, length):
    found = np.zeros((length, length))
    for i in range(1, length + 1):
        row = encoder.row(i, length)
        found[i - 1, i - len(row) : i] = row
    return found


def noise(mechanism, round_number, attempt=0):
    """What training gets of a round's noise on the sum."""
    return mechanism.decode(gathered(ZERO, round_number=round_number, attempt=attempt)).numpy() * SUM


def noises(mechanism, rounds=ROUNDS, attempt=0):
    return np.array([noise(mechanism, number, attempt) for number in range(1, rounds + 1)])


# -- sensitivities -----------------------------------------------------------------------------------------


def most_moved(encoder, rounds):
    """By brute force: the largest norm of C u over signs of a unit's addends in these rounds (from 0)."""
    columns = encoder[:, list(rounds)]
    return max(np.linalg.norm(columns @ np.array(signs)) for signs in itertools.product((1, -1), repeat=len(rounds)))


@pytest.mark.parametrize("length", [1, 5, 8])
def test_a_trees_sensitivity_is_that_of_all_its_sums_whoever_takes_part_when(length):
    encoder = matrix(TreeEncoder(), length)
    for pattern in itertools.product((0, 1), repeat=length):
        rounds = np.flatnonzero(pattern)
        expected = most_moved(encoder, rounds) if len(rounds) else 0.0
        assert math.sqrt(squared_sensitivity(np.array(pattern))) == pytest.approx(expected)


def test_golden_sensitivities():
    once, turns = np.eye(16, dtype=np.int64)[0], (np.arange(16) % 4 == 0).astype(np.int64)
    assert math.sqrt(squared_sensitivity(once)) == pytest.approx(2.23607, abs=1e-5)
    whole = [turns.reshape(-1, 2**level).sum(axis=1) for level in range(5)]  # a tree that releases every node
    assert math.sqrt(sum((node**2).sum() for node in whole)) == pytest.approx(6.0)
    assert math.sqrt(squared_sensitivity(turns)) == pytest.approx(math.sqrt(30))  # prefix sums need only half of them
    banded = matrix(BandedEncoder(4), 16)
    assert np.linalg.norm(banded @ turns) == pytest.approx(2.0)
    coefficients = matrix(BandedEncoder(16), 16)[:, 0]
    assert 1 / coefficients[0] == pytest.approx(1.39423, abs=1e-5)  # of the square root, before its columns have norm 1


@given(bands=st.integers(1, 5), length=st.integers(1, 9), data=st.data())
def test_banded_columns_have_norm_1_and_those_far_enough_apart_share_no_row(bands, length, data):
    encoder = matrix(BandedEncoder(bands), length)
    assert np.allclose(np.linalg.norm(encoder, axis=0), 1)
    first = data.draw(st.integers(0, bands - 1))
    rounds = range(first, length, bands)
    if len(rounds):
        assert most_moved(encoder, rounds) == pytest.approx(math.sqrt(len(rounds)))


def test_one_participation_costs_what_dp_accounting_says_or_less():
    """privacy.md: n = 1000, z = 7, delta 1e-10: 2.9129 by RDP; the closed form is tighter."""
    accountant = RdpAccountant(neighboring_relation=dp_accounting.NeighboringRelation.REPLACE_SPECIAL)
    accountant.compose(dp_accounting.SingleEpochTreeAggregationDpEvent(7.0, 1000))
    assert accountant.get_epsilon(1e-10) == pytest.approx(2.9129, abs=1e-4)
    once = {TreeRound(noise_multiplier=7.0, first_round=1, last_round=1000, attempt=0, round=1): 1}
    found = epsilon(once, delta=1e-10, relation="zero_out", accountant="rdp").value
    assert found == pytest.approx(gaussian_epsilon(math.sqrt(10) / 7, 1e-10))
    assert 0.95 * 2.9129 < found <= 2.9129


def test_trees_add_up_and_replacing_moves_twice_as_far():
    def of(*rounds, last=8, attempt=0):
        tree = {"first_round": 1, "last_round": last, "attempt": attempt}
        return {TreeRound(noise_multiplier=2.0, **tree, round=r): 1 for r in rounds}

    def spent(composition, relation="add_or_remove_one"):
        return epsilon(composition, delta=1e-5, relation=relation, accountant="pld").value

    both = {**of(1, 5), **of(3, attempt=1)}
    s2 = squared_sensitivity(np.array([1, 0, 0, 0, 1, 0, 0, 0])) + squared_sensitivity(np.array([0, 0, 1] + [0] * 5))
    assert spent(both) == pytest.approx(gaussian_epsilon(math.sqrt(s2) / 2, 1e-5))
    assert spent(both, "replace_one") == pytest.approx(gaussian_epsilon(math.sqrt(s2), 1e-5))
    assert spent(of(1, 5)) > spent(of(1)) > spent(of(1, last=4))


# -- noise -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [FtrlTree, FtrlBanded])
def test_rounds_get_what_the_matrix_makes_of_independent_noise(kind, new_streams, judge):
    mechanism = make(kind, new_streams(0))
    whitened = matrix(mechanism.encoder, ROUNDS) @ noises(mechanism)
    assert judge.has_std(whitened, 1.5 * 2.0)
    assert judge.is_gaussian(whitened, 1.5 * 2.0)
    assert judge.are_independent(whitened)
    for wrong in (0.97, 1.03, math.sqrt(0.5)):
        assert not judge.has_std(whitened, wrong * 1.5 * 2.0)
    assert not judge.are_independent(noises(mechanism)), "rounds take back what earlier ones added"


def test_a_prefix_sum_has_the_noise_of_its_sums_alone(new_streams):
    sums = np.cumsum(noises(make(FtrlTree, new_streams(0))), axis=0)
    for number, total in enumerate(sums, start=1):
        assert total.std() == pytest.approx(3.0 * math.sqrt(number.bit_count()), rel=0.06)
    banded = np.cumsum(noises(make(FtrlBanded, new_streams(0))), axis=0)
    assert banded[-1].std() < 0.75 * 3.0 * math.sqrt(ROUNDS)


@pytest.mark.parametrize("kind", [FtrlTree, FtrlBanded])
def test_after_a_resume_the_same_noise_goes_on(kind, new_streams):
    whole, fresh = noises(make(kind, new_streams(0))), make(kind, new_streams(0))
    for number in (9, 10, 3):  # in any order
        assert np.array_equal(noise(fresh, number), whole[number - 1])


@pytest.mark.parametrize("kind", [FtrlTree, FtrlBanded])
def test_another_attempt_has_a_group_of_its_own_as_if_nobody_had_been_in_its_earlier_rounds(kind, new_streams, judge):
    mechanism, lost = make(kind, new_streams(0)), noises(make(kind, new_streams(0)))
    again = noises(mechanism, attempt=1)
    assert judge.are_independent([lost[5], again[5]])
    assert judge.are_independent([lost[5:].sum(axis=0), again[5:].sum(axis=0)])
    key = {"round_number": 6, "cohort": CLIENTS[:2]}
    here, there = (mechanism.entry(**key, attempt=attempt) for attempt in (0, 1))
    assert (here.group, there.group) == ("rounds 1 to 16, attempt 0", "rounds 1 to 16, attempt 1")
    # all that rounds 6 to 16 release follows from what is accounted: sums with noise of their own
    encoder = matrix(mechanism.encoder, ROUNDS)
    updates = np.random.default_rng(0).normal(size=(ROUNDS, SIZE)) * (np.arange(ROUNDS) >= 5)[:, None]
    noisy_sums = encoder @ updates + encoder @ again
    assert np.allclose(np.linalg.solve(encoder, noisy_sums)[5:], (updates + again)[5:])
    assert judge.has_std(encoder @ again, 3.0)


@pytest.mark.parametrize(("kind", "every"), [(FtrlTree, None), (FtrlTree, 6), (FtrlBanded, None)])
@pytest.mark.parametrize("begun", [(1, 0), (5, 1)])
def test_the_ledger_adds_up_to_the_plan(kind, every, begun, new_streams):
    mechanism, (first, attempt) = make(kind, new_streams(0), restart_every=every), begun
    numbers = range(first, ROUNDS + 1)
    entries = [mechanism.entry(round_number=number, attempt=attempt, cohort=CLIENTS[:1]) for number in numbers]
    planned = mechanism.planned(np.ones(POPULATION), first_round=first, last_round=ROUNDS, attempt=attempt)
    assert planned == compositions(entries)
    [table] = [LedgerTables()]
    assert list(table.entries(json.loads(json.dumps(entry.to_json())) for entry in entries)) == entries


def test_what_a_killed_attempt_has_paid_and_what_is_planned_after_it_are_one_tree(new_streams):
    """Two trees of half the rounds each would cost less than the one that is there."""
    mechanism = make(FtrlTree, new_streams(0), sampling=law("all", separation=None))

    def paid(first, last, attempt):
        numbers = range(first, last + 1)
        return [mechanism.entry(round_number=number, attempt=attempt, cohort=CLIENTS) for number in numbers]

    lost, begun, rest = paid(1, 5, 0), paid(4, 7, 1), paid(8, ROUNDS, 1)
    planned = mechanism.planned(np.ones(POPULATION), first_round=8, last_round=ROUNDS, attempt=1)
    assert add(compositions([*lost, *begun]), planned) == compositions([*lost, *begun, *rest])


def test_without_noise_nothing_is_claimed(new_streams):
    for kind in (FtrlTree, FtrlBanded):
        mechanism = make(kind, new_streams(0), noise_multiplier=0.0)
        assert mechanism.entry(round_number=1, attempt=0, cohort=CLIENTS) is None
        assert not noises(mechanism).any()


def test_a_client_that_could_come_back_too_soon_is_refused(new_streams):
    with pytest.raises(ConfigError, match="use at most 4 bands, or a larger separation"):
        make(FtrlBanded, new_streams(0), bands=5)


def test_trees_are_restarted_where_the_model_has_least_noise():
    assert best_restart(rounds=100, separation=10) == 16
    assert best_restart(rounds=100, separation=1) == 1  # everybody in every round: nothing beats independent noise
    assert best_restart(rounds=1000, separation=10) == 64


# -- planted faults, which only tests may plant ------------------------------------------------------------


def subject(kind):
    turns = CohortSampling(kind="round_robin", population=40, cohort=10, separation=4, cap=0)

    def made(streams, sampler):
        bands = {"bands": 4} if issubclass(kind, FtrlBanded) else {}
        groups = Groups(rounds=2**60, restart_every=2**14)
        grid = ClippingGrid(clipping_norm=1.0, summands=40)
        return kind(grid=grid, groups=groups, sampler=sampler, noise_multiplier=1.0, streams=streams, **bands)

    return ClientLevelSubject(
        name="made",
        make=made,
        make_sampler=lambda streams: make_sampler(turns, clients=np.arange(40), streams=streams),
        population=40,
    )


class NodesShareAKey(FtrlTree):
    def _noise(self, group, round_number, size):
        rng = self.streams.rng("noise", group.first_round, group.attempt)
        std = self.noise_std
        return self.encoder.correlated(round_number, group.length, lambda i: rng.normal(scale=std, size=size), {})


class NothingIsTakenBack(FtrlTree):
    def _noise(self, group, round_number, size):
        return self.streams.rng("noise", round_number, group.attempt).normal(scale=self.noise_std, size=size)


class NoiseOverLevels(FtrlTree):
    def _noise(self, group, round_number, size):
        return super()._noise(group, round_number, size) / math.sqrt(5)


class SharedByAttempts(FtrlBanded):
    def _noise(self, group, round_number, size):
        rng = self.streams.rng("noise", round_number)
        return rng.normal(scale=self.noise_std / self.encoder.row(1, group.length)[0], size=size)


class IndependentRounds(FtrlBanded):
    def _noise(self, group, round_number, size):
        return self.streams.rng("noise", round_number, group.attempt).normal(scale=self.noise_std, size=size)


class ClipsToFour(FtrlBanded):
    def encode(self, update, *, senders):
        wide = ClippingGrid(clipping_norm=4.0, summands=40).encode(update)
        return type(wide)(values=wide.values * 4, norm=wide.norm, clipped=wide.clipped)


class NotNormalised(BandedEncoder):
    def _norm(self, column, length):
        return 1.0


class ColumnsAreLonger(FtrlBanded):
    @property
    def encoder(self):
        return NotNormalised(bands=self.bands)


class MoreBandsThanTurns(FtrlBanded):
    @property
    def encoder(self):
        return BandedEncoder(bands=3 * self.bands)


class RoundsOfATreeAsIfAlone(FtrlTree):
    """Accounted as independent noise would be."""

    def entry(self, *, round_number, attempt, cohort):
        entry = super().entry(round_number=round_number, attempt=attempt, cohort=cohort)
        alone = (("first_round", round_number), ("last_round", round_number))
        return replace(entry, details=alone, group=f"rounds {round_number} to {round_number}, attempt {attempt}")


FAULTS = {
    ColumnsAreLonger: "ledger",
    MoreBandsThanTurns: "ledger",
    RoundsOfATreeAsIfAlone: "ledger",
    NodesShareAKey: "noise_independent_rounds",
    NothingIsTakenBack: "noise_std",
    NoiseOverLevels: "noise_std",
    SharedByAttempts: "ledger",
    IndependentRounds: "noise_std",
    ClipsToFour: "sensitivity_zero_out",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_planted_fault_is_caught(fault):
    found = kit.measure_property(FAULTS[fault], subject(fault))
    assert found.verdict == "fails", found.evidence


@pytest.mark.slow
@pytest.mark.parametrize("kind", [FtrlTree, FtrlBanded])
@pytest.mark.parametrize("property_", ["sensitivity_zero_out", "ledger"])
def test_what_is_right_holds(kind, property_):
    assert kit.measure_property(property_, subject(kind)).verdict == "holds"


@pytest.mark.slow
@pytest.mark.parametrize("kind", [FtrlTree, FtrlBanded])
def test_what_is_right_holds_in_everything(kind):
    rows = {row.property: row for row in kit.measure_subject(subject(kind)).rows}
    assert {n: row.evidence for n, row in rows.items() if row.verdict == "fails"} == {}
    for name in ("noise_std", "noise_independent_rounds", "sensitivity_replace", "sampling", "ledger"):
        assert rows[name].verdict == "holds"


# -- runs --------------------------------------------------------------------------------------------------

RUN = ("sampling.cohort=2", "privacy.epsilon=6", "rounds=6")


@pytest.mark.parametrize("name", ["ftrl_tree", "ftrl_banded"])
def test_a_run_earns_its_target_in_turns(name, run_digits, tmp_path):
    ran = run_digits(f"privacy={name}", *RUN)
    stated = ran.record.guarantee
    assert 5.9 < stated["epsilon"] <= 6
    assert stated["sampling"]["kind"] == "round_robin"
    assert stated["mu"] is not None
    assert verify(ran.folder).holds
    lines = [json.loads(line) for line in (ran.folder / "ledger.jsonl").read_text().splitlines()]
    assert {line["noise_law"] for line in lines} == {name.replace("ftrl", "gaussian")}
    assert all(line["group"].endswith("attempt 0") for line in lines)


def terms_and_entries(ran):
    decisions = [json.loads(line) for line in (ran.folder / "audit.jsonl").read_text().splitlines()]
    terms = Terms.from_json(next(line["terms"][0] for line in decisions if line["event"] == "started"))
    lines = [json.loads(line) for line in (ran.folder / "ledger.jsonl").read_text().splitlines()]
    return terms, list(LedgerTables().entries(lines))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("ftrl_tree", {"first_round": 2}),
        ("ftrl_tree", {"last_round": 1}),
        ("ftrl_banded", {"bands": 40}),
        ("ftrl_banded", {"bands": 0}),
    ],
)
def test_entries_of_groups_that_cannot_be_are_refused(name, change, run_digits):
    terms, entries = terms_and_entries(run_digits(f"privacy={name}", *RUN))
    assert state_guarantee(entries, terms=terms) is not None
    entries[0] = replace(entries[0], details=tuple({**dict(entries[0].details), **change}.items()))
    with pytest.raises(ConfigError):
        state_guarantee(entries, terms=terms)


def test_coins_within_turns_amplify_banded_noise(run_digits):
    sampled = ("sampling=cyclic_poisson", "sampling.separation=2", "privacy.epsilon=6", "rounds=6")
    ran = run_digits("privacy=ftrl_banded", "sampling.cohort=2", *sampled)
    plain = run_digits("privacy=ftrl_banded", "sampling=round_robin", "sampling.separation=2", *sampled[2:])
    multipliers = [run.record.guarantee["noise_multiplier_min"] for run in (ran, plain)]
    assert multipliers[0] < multipliers[1]
    assert verify(ran.folder).holds


@pytest.mark.parametrize("name", ["ftrl_tree", "ftrl_banded"])
def test_sampling_without_turns_is_refused(name, run_digits):
    with pytest.raises(ConfigError, match="lets a client come back at any time"):
        run_digits(f"privacy={name}", "sampling=poisson", *RUN)


def test_rounds_of_two_groups_at_once_are_refused(run_digits):
    ran = run_digits("privacy=ftrl_tree", *RUN)
    terms, entries = terms_and_entries(ran)
    first, second = entries[:2]
    alone = (("first_round", 2), ("last_round", 2))
    entries[1] = replace(second, details=alone, group="rounds 2 to 2, attempt 0")
    assert first.group != entries[1].group
    with pytest.raises(ConfigError, match="share their noise with two groups"):
        state_guarantee(entries, terms=terms)


@pytest.mark.parametrize("name", ["ftrl_tree", "ftrl_banded"])
def test_more_bands_than_turns_and_the_like_are_refused_before_anything_is_written(name, command, tmp_path):
    wrong = {"ftrl_tree": "privacy.restart_every=0", "ftrl_banded": "privacy.bands=6"}[name]
    told = {"ftrl_tree": "privacy.restart_every=0 must be at least 1", "ftrl_banded": "use at most 5 bands"}[name]
    ended = command("run", "experiment=digits_smoke", f"privacy={name}", "sampling.cohort=2", wrong, "output_dir=out")
    assert ended.code == 2
    assert told in ended.err
    assert not (tmp_path / "out").exists()
