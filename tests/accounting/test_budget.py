"""What a run has spent so far: never below what the accountant says, however many clients there are."""

import math
import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.accounting import accountants
from fedpriv.accounting.accountants import Composition, Epsilon, SampledGaussian, max_epsilon
from fedpriv.accounting.budget import Accounting, EpsilonMeter
from fedpriv.accounting.calibration import calibrate_clients
from fedpriv.accounting.client_table import COLUMNS, ClientTable
from fedpriv.accounting.ledger import ReleaseEntry, compositions

ACCOUNTING = Accounting(delta=1e-5, relation="add_or_remove_one", accountant="pld")


def a_table(rng: np.random.Generator, *, clients: int, kinds: int) -> ClientTable:
    """Clients of so many kinds."""
    kind = rng.integers(kinds, size=clients)
    noise = rng.uniform(0.7, 4.0, kinds)[kind]
    return ClientTable(
        clients=np.arange(clients),
        rate=rng.uniform(0.01, 1.0, kinds)[kind],
        noise_multiplier=noise,
        noise_std=noise * 2.0,
        steps=rng.integers(1, 5, kinds)[kind],
    )


def rounds(
    rng: np.random.Generator, table: ClientTable, *, number: int, tabled: bool = True
) -> list[ReleaseEntry]:
    """Rounds of Poisson cohorts; the first one has everybody."""
    made = []
    for round_number in range(1, number + 1):
        clients = table.clients[rng.random(len(table.clients)) < (1.0 if round_number == 1 else 0.3)]
        some = table.some(clients)
        listed = {name: tuple(column[some.rows].tolist()) for name, column in table.columns.items()}
        made.append(
            ReleaseEntry(
                mechanism="example_dpsgd",
                unit="example",
                round=round_number,
                attempt=0,
                noise_law="gaussian",
                sensitivity=2.0,
                sampling="poisson",
                population=len(table.clients),
                cohort=len(clients),
                turn=None,
                group=None,
                **({**dict.fromkeys(COLUMNS), "clients": some} if tabled else listed),
            )
        )
    return made


def spent(entries: Sequence[ReleaseEntry], *, cap: float = math.inf) -> float:
    return EpsilonMeter(accounting=ACCOUNTING, cap=cap, spent=entries).upper_bound()


@pytest.mark.slow
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 10**6), kinds=st.integers(1, 150))
def test_a_running_epsilon_is_never_below_the_accountants(seed: int, kinds: int) -> None:
    rng = np.random.default_rng(seed)
    entries = rounds(rng, a_table(rng, clients=150, kinds=kinds), number=5)
    for done in (1, 5):
        earned, _ = ACCOUNTING.worst(compositions(entries[:done]))
        assert spent(entries[:done]) >= earned.value


def test_few_kinds_of_clients_cost_the_same_in_both_forms() -> None:
    rng = np.random.default_rng(1)
    table = a_table(rng, clients=200, kinds=30)
    entries = rounds(rng, table, number=4)
    as_listed = rounds(np.random.default_rng(1), table, number=1, tabled=False)
    assert spent(entries[:1]) == spent(as_listed)
    assert spent(entries) < 1.2 * ACCOUNTING.worst(compositions(entries))[0].value


def test_a_meter_goes_on_from_what_was_spent_and_starts_at_nothing() -> None:
    rng = np.random.default_rng(2)
    entries = rounds(rng, a_table(rng, clients=120, kinds=120), number=4)
    meter = EpsilonMeter(accounting=ACCOUNTING, cap=math.inf, spent=entries[:2])
    bounds = [meter.upper_bound()]
    for one in entries[2:]:
        meter.spend(one)
        bounds.append(meter.upper_bound())
    assert bounds[-1] == spent(entries)
    assert bounds == sorted(bounds)
    assert spent([]) == 0.0
    assert spent(entries, cap=0.25) == 0.25


def test_what_the_meter_cannot_add_up_is_bounded_by_the_plan() -> None:
    """A ledger of two tables, or of both forms: what a run holds that began anew with other noise."""
    rng = np.random.default_rng(3)
    first, second = (rounds(rng, a_table(rng, clients=50, kinds=9), number=2) for _ in range(2))
    listed = rounds(rng, a_table(rng, clients=50, kinds=9), number=2, tabled=False)
    assert spent([*first, *second], cap=1e9) == 1e9
    assert spent([*first, *listed], cap=1e9) == 1e9


# -- the largest of many -----------------------------------------------------------------------------------------


def largest(many: Sequence[Composition]) -> tuple[Epsilon, int]:
    return max_epsilon(many, delta=1e-6, relation="add_or_remove_one", accountant="pld")


def full_batches(noise: np.ndarray, steps: np.ndarray) -> list[Composition]:
    """They have a closed form: every one can be judged by itself."""
    return [
        {SampledGaussian(noise_multiplier=z, sampling="poisson", rate=1.0, population=0, cohort=0): n}
        for z, n in zip(noise.tolist(), steps.tolist(), strict=True)
    ]


@pytest.mark.slow
def test_the_largest_of_hundreds_is_found_exactly() -> None:
    rng = np.random.default_rng(4)
    many = full_batches(rng.uniform(1, 9, 260), rng.integers(1, 99, 260))
    each = [largest([composition])[0].value for composition in many]
    worst, index = largest(many)
    assert (worst.value, index) == (max(each), each.index(max(each)))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if very many compositions were so close that the largest could not be found in time."""
    monkeypatch.setattr(accountants, "_FEW", 4)
    monkeypatch.setattr(accountants, "_PATIENCE", 0)


@pytest.mark.usefixtures("impatient")
def test_where_the_largest_is_not_found_a_bound_close_above_it_is_the_answer() -> None:
    rng = np.random.default_rng(5)
    steps = rng.integers(10, 1000, 120)
    many = full_batches(np.sqrt(steps) * rng.uniform(0.98, 1.02, 120), steps)
    each = [largest([composition])[0].value for composition in many]
    bound, index = largest(many)
    assert max(each) <= bound.value <= 1.1 * max(each)
    assert each[index] >= 0.95 * max(each)
    assert bound.method.endswith("over bins of similar clients")
    random.Random(0).shuffle(many)
    assert largest(many)[0] == bound, "plan, run and verify agree to the last digit"


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
def test_noise_that_was_calibrated_in_bins_stays_within_its_target_all_the_same() -> None:
    steps = np.random.default_rng(6).integers(10, 1000, 120)
    noise = calibrate_clients(
        target_epsilon=3.0,
        delta=1e-6,
        relation="add_or_remove_one",
        accountant="pld",
        rates=np.ones(120),
        counts=steps,
    )
    assert len(np.unique(noise)) == 48 < len(np.unique(steps))
    assert 2.99 < largest(full_batches(noise, steps))[0].value <= 3.0
