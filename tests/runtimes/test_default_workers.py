import joblib
import pytest

from fedpriv.runtimes.default_workers import default_workers


@pytest.fixture(autouse=True)
def eight_cpus(monkeypatch):
    monkeypatch.setattr(joblib, "cpu_count", lambda: 8)


def number(**given):
    return default_workers(**({"examples": 1e7, "parameters": 10_000, "most": 16, "threads": 1} | given))


def test_a_large_job_has_a_worker_for_every_cpu():
    assert number() == 8


def test_workers_share_the_cpus_with_their_threads():
    assert number(threads=3) == 2
    assert number(threads=16) == 1


def test_no_more_workers_than_there_is_work_at_once():
    assert number(most=5) == 5


@pytest.mark.parametrize("small", [{"examples": 5391, "parameters": 650}, {"examples": 60_000, "parameters": 26_010}])
def test_a_small_job_has_none_beside_this_process(small):
    assert number(**small) == 1


def test_the_same_examples_of_a_large_model_are_no_small_job():
    assert number(examples=60_000, parameters=1_626_442) == 8


def test_one_cpu_has_this_process_alone(monkeypatch):
    monkeypatch.setattr(joblib, "cpu_count", lambda: 1)
    assert number() == 1
