"""Hydra's launchers and sweepers."""

import json
from pathlib import Path

import pytest

TINY = (
    *("experiment=digits_smoke", "rounds=1", "partition.num_clients=4", "training.batch_size=180"),
    *("privacy.epsilon=null", "privacy.accountant=rdp", "evaluation.clients=false"),
)
pytest.importorskip("hydra_plugins", reason="needs the extra sweeps")


def statuses(folder: Path) -> list[str]:
    return [json.loads(path.read_text())["status"] for path in folder.glob("outputs/*/*/run.json")]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_a_launcher_runs_all_and_one_failure_stops_none(launcher, command, tmp_path):
    pytest.importorskip("joblib" if launcher == "joblib" else "submitit")
    words = (*TINY, "privacy.noise_multiplier=1,2", "model=logistic,lenet", f"hydra/launcher={launcher}")
    ended = command("sweep", *words)
    assert ended.code == 1
    assert "4 runs: 2 trained, 2 failed" in ended.out
    assert statuses(tmp_path) == ["completed"] * 2
    workers = [path.read_text() for path in tmp_path.glob("outputs/*/*/config.yaml")]
    assert all("\nworkers: 1\n" in text for text in workers)


OPTUNA = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "privacy.noise_multiplier=interval(1.0,2.0)")


def test_optuna_weighs_utility_against_epsilon_and_goes_on_where_it_was(command, tmp_path):
    pytest.importorskip("optuna")
    ended = command("sweep", *TINY, *OPTUNA)
    assert ended.code == 0, ended
    assert "3 runs: 3 trained" in ended.out
    assert "covers no choice among runs" in ended.out
    again = command("sweep", *TINY, *OPTUNA[:1], "hydra.sweeper.n_trials=4", *OPTUNA[2:])
    assert "4 runs: 1 trained, 3 done before" in again.out
    assert statuses(tmp_path) == ["completed"] * 4


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("privacy=none,example", "privacy.noise_multiplier=1"), "no meaning with privacy=none"),
        (("privacy.epsilon=8,inf",), "has no epsilon to weigh"),
        (("seed=0",), "needs values to choose from"),
        (("seed=0,1", "hydra.sweeper.direction=minimize"), "maximize"),
        (("privacy.epsilon=interval(-1,8)",), "must be > 0"),
    ],
)
def test_a_search_that_cannot_be_is_refused_before_it_begins(words, told, command, tmp_path):
    pytest.importorskip("optuna")
    ended = command("sweep", "experiment=digits_smoke", "hydra/sweeper=optuna", *words)
    assert ended.code == 2
    assert told in ended.err
    assert not list(tmp_path.glob("outputs/*"))


def test_a_plugin_that_is_not_there_is_named_with_its_extra(command, tmp_path):
    ended = command("sweep", "experiment=digits_smoke", "seed=0,1", "hydra/launcher=ray")
    assert ended.code == 2
    assert "fedpriv[sweeps]" in ended.err
