from dataclasses import replace

import joblib
import pytest

from fedpriv.config import compose
from fedpriv.experiment import Experiment

SMALL = ("experiment=digits_smoke",)
LARGE = (*SMALL, "rounds=1000000", "privacy=none")


@pytest.fixture(autouse=True)
def four_cpus(monkeypatch):
    monkeypatch.setattr(joblib, "cpu_count", lambda: 4)


def assembled(*overrides):
    return Experiment.assemble(compose(overrides, config_dir=None))


@pytest.mark.parametrize(("overrides", "number"), [(SMALL, 1), ((*SMALL, "workers=3"), 3), ((*LARGE, "workers=1"), 1)])
def test_a_number_is_honoured_and_a_small_job_gets_none_beside_this_process(overrides, number):
    assert assembled(*overrides).workers == number


def test_a_large_job_has_the_cpus_but_on_an_accelerator_or_from_a_notebook():
    experiment = assembled(*LARGE)
    assert experiment.workers == experiment.num_nodes == 4
    elsewhere = replace(experiment, config=compose([*LARGE, "device=cuda"], config_dir=None))
    assert elsewhere.workers == 1
    typed = replace(experiment)
    typed.__dict__["own_code"] = {"__main__.Net": "digest"}
    assert typed.workers == 1


def test_workers_are_not_in_the_run_id():
    assert assembled(*SMALL).run_id() == assembled(*SMALL, "workers=3").run_id()
