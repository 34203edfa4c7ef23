"""Example-level DP: what the ledger says about each client is what the client is told to do."""

import numpy as np
import pytest

from fedpriv.accounting.client_table import MOST_LISTED, TabledClients
from fedpriv.errors import FedprivError
from fedpriv.privacy import PoissonBatches
from fedpriv.privacy.mechanisms import ExampleGaussian

SIZES = np.array([100, 7, 0, 64, 300])


def make(noise, *, batch_size=32, local_epochs=2, max_grad_norm=0.5):
    batches = PoissonBatches(batch_size=batch_size, local_epochs=local_epochs)
    return ExampleGaussian(
        max_grad_norm=max_grad_norm,
        layer_norms={},
        rates=np.array([batches.rate(int(n)) for n in SIZES]),
        steps=np.array([batches.steps(int(n)) for n in SIZES]),
        noise_multipliers=np.asarray(noise, dtype=float),
    )


def test_entry_holds_each_clients_own_numbers():
    mechanism = make([1.0, 2.0, np.nan, 3.0, 4.0])
    cohort = np.array([0, 1, 4])
    entry = mechanism.entry(round_number=2, attempt=1, cohort=cohort)
    assert entry.clients == (0, 1, 4)
    assert entry.rate == pytest.approx((0.32, 1.0, 32 / 300))
    assert entry.steps == (8, 2, 20)
    assert entry.noise_multiplier == (1.0, 2.0, 4.0)
    assert entry.noise_std == pytest.approx((0.5, 1.0, 2.0))
    assert entry.sensitivity == 0.5
    assert entry.sampling == "poisson"
    assert mechanism.local_noise_multipliers(cohort).tolist() == list(entry.noise_multiplier)


def test_a_client_without_examples_releases_nothing():
    """Its noise was never calibrated; it must neither enter the ledger nor hide the others from it."""
    mechanism = make([1.0, 2.0, np.nan, 3.0, 4.0])
    entry = mechanism.entry(round_number=1, attempt=0, cohort=np.arange(5))
    assert entry.clients == (0, 1, 3, 4)
    assert set(mechanism.planned(np.ones(5, dtype=np.int64), first_round=1, last_round=1, attempt=0)) == {0, 1, 3, 4}
    assert mechanism.entry(round_number=1, attempt=0, cohort=np.array([2])) is None


def test_a_cohort_with_an_uncalibrated_client_is_refused():
    """Never an unaccounted release beside a noiseless one."""
    mechanism = make([1.0, np.nan, np.nan, 3.0, 4.0])
    with pytest.raises(FedprivError, match="clients \\[1\\]"):
        mechanism.entry(round_number=1, attempt=0, cohort=np.array([0, 1]))


def test_no_noise_means_no_entry():
    mechanism = make(np.zeros(5))
    assert mechanism.entry(round_number=1, attempt=0, cohort=np.arange(5)) is None
    assert mechanism.planned(np.ones(5, dtype=np.int64), first_round=1, last_round=1, attempt=0) == {}


def test_plan_is_what_the_ledger_will_hold():
    mechanism = make([1.1, 0.3, np.nan, 3.7, 0.9], max_grad_norm=0.3)
    participations = np.array([3, 0, 3, 1, 2])
    planned = mechanism.planned(participations, first_round=1, last_round=3, attempt=0)
    entry = mechanism.entry(round_number=1, attempt=0, cohort=np.array([0, 3, 4]))
    released = {client: {release: steps} for client, release, steps in entry.releases()}
    assert set(planned) == {0, 3, 4}
    for client, composition in planned.items():
        assert composition.keys() == released[client].keys()
        assert list(composition.values()) == [participations[client] * mechanism.steps[client]]


def of_size(clients):
    noise = np.where(np.arange(clients) % 3 == 1, np.nan, 1.0 + np.arange(clients) / clients)
    return ExampleGaussian(
        max_grad_norm=0.7,
        layer_norms={},
        rates=np.full(clients, 0.25),
        steps=np.where(np.arange(clients) % 3 == 2, 0, 4),
        noise_multipliers=noise,
    )


def test_beyond_a_thousand_clients_an_entry_names_rows_of_one_table():
    few, many = of_size(MOST_LISTED), of_size(MOST_LISTED + 1)
    cohort = np.array([0, 2, 3, 999])  # client 2 has no examples
    first, second = (many.entry(round_number=r, attempt=0, cohort=cohort) for r in (1, 2))
    assert few.entry(round_number=1, attempt=0, cohort=cohort).clients == (0, 3, 999)
    assert isinstance(first.clients, TabledClients)
    assert first.clients.table is second.clients.table
    assert first.clients.table.clients.tolist() == list(range(0, MOST_LISTED + 1, 3)), "only who may ever be in it"
    assert [(client, release.rate, steps) for client, release, steps in first.releases()] == [
        (client, 0.25, 4) for client in (0, 3, 999)
    ]
    participations = np.bincount(cohort, minlength=MOST_LISTED + 1)
    planned = many.planned(participations, first_round=1, last_round=1, attempt=0)
    assert {client: {release: steps} for client, release, steps in first.releases()} == {
        client: planned[client] for client in (0, 3, 999)
    }
