"""What the cost of an audit is compared with: runs of as many clients, in cohorts of the same size."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # benchmarks/ is no part of the package

from benchmarks.audit_cost import of_clients, of_examples, seconds
from benchmarks.workloads import WORKLOADS, Random, Workload, softmax_regression

from benchmarks import with_fedpriv


def tiny(protects):
    data = Random(population=60, examples=20, shape=(64,))
    return Workload(name="tiny", protects=protects, data=data, model=softmax_regression, cohort=6, batch_size=4, lr=0.1,
                    clipping_norm=0.4, noise_multiplier=1.0, warm_up=1, rounds=2)  # fmt: skip


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    monkeypatch.setattr(with_fedpriv, "RUNS", tmp_path)
    monkeypatch.setattr("benchmarks.audit_cost.RUNS", tmp_path)


def test_plain_clients_take_the_place_of_canaries(monkeypatch):
    for name in ("tiny", "tiny_and_120"):
        monkeypatch.setitem(WORKLOADS, name, tiny("client"))
    pair = of_clients(WORKLOADS["tiny"], canaries=120)
    (audited, audit), (plain, nothing) = pair.audited, pair.plain
    assert (audited.data.population, plain.data.population) == (60, 180)
    assert audited.cohort == plain.cohort == 18
    assert audit == ("audit=client_canaries", "audit.canaries=120")
    assert nothing == ()
    assert all(seconds(w, o, rounds=1, workers=1) > 0 for w, o in (pair.audited, pair.plain))


def test_examples_give_up_their_places_to_canaries(monkeypatch):
    monkeypatch.setitem(WORKLOADS, "tiny", tiny("example"))
    pair = of_examples(WORKLOADS["tiny"], "gradient_canaries", canaries=100)
    assert pair.audited[0] == pair.plain[0] == WORKLOADS["tiny"]
    assert all(seconds(w, o, rounds=1, workers=1) > 0 for w, o in (pair.audited, pair.plain))
