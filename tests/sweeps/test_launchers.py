"""Hydra's launchers and sweepers."""

import json
import os
from pathlib import Path

import pytest
from torch import nn

import fedpriv
from fedpriv.errors import ConfigError

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


KILLED = """
import os, signal
from pathlib import Path
from torch import nn


class Killed(nn.Module):
    \"\"\"Ends its process after some training, always or (`once`) only the first time.\"\"\"

    def __init__(self, marker: str, once: bool):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        self.marker, self.once, self.calls = Path(marker), once, 0

    def forward(self, x):
        self.calls += self.training
        if self.calls > 40 and self.marker.name != "never" and not (self.once and self.marker.exists()):
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.layers(x)
"""


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
@pytest.mark.parametrize("once", ["true", "false"])
def test_a_killed_job_is_gone_on_with_and_takes_no_other_with_it(launcher, once, command, tmp_path, monkeypatch):
    pytest.importorskip("joblib" if launcher == "joblib" else "submitit")
    (tmp_path / "killed.py").write_text(KILLED)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    words = ("experiment=digits_smoke", "model._target_=killed.Killed", "rounds=60", "privacy.epsilon=null")
    words += ("privacy.noise_multiplier=2", "privacy.accountant=rdp", "evaluation.clients=false", "force=true")
    words += ("training.engine=opacus",)
    words += (f"+model.marker={tmp_path}/marker,{tmp_path}/never", f"+model.once={once}")
    words += (f"hydra/launcher={launcher}", *(("hydra.launcher.n_jobs=2",) if launcher == "joblib" else ()))
    ended = command("sweep", *words)
    records = [json.loads(path.read_text()) for path in tmp_path.glob("outputs/*/*/run.json")]
    completed = [record for record in records if record["status"] == "completed"]
    if once == "true":
        assert ended.code == 0, ended
        assert len(completed) == 2
    else:
        assert ended.code == 1, ended
        assert "2 runs: 1 trained, 1 failed" in ended.out
        assert "/marker: its process ended without a word" in ended.out.replace(" model.once=false", "")
        assert len(completed) == 1
    assert all(record["rounds"] == 60 for record in completed)
    assert not list(tmp_path.glob("outputs/.sweep-*"))


def test_what_was_typed_in_is_refused_where_other_processes_would_need_it(tmp_path, monkeypatch):
    import __main__

    class Typed(nn.Module):
        pass

    Typed.__module__, Typed.__qualname__ = "__main__", "Typed"
    monkeypatch.setattr(__main__, "Typed", Typed, raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"__main__\.Typed was typed in"):
        fedpriv.sweep(*TINY, "privacy.noise_multiplier=1", "seed=0,1", "hydra/launcher=joblib", model=Typed)
    assert not list(tmp_path.iterdir())


def test_a_typo_in_a_launcher_s_key_writes_nothing(command, tmp_path):
    ended = command("sweep", *TINY, "seed=0,1", "hydra/launcher=joblib", "hydra.launcher.n_job=2")
    assert ended.code == 2
    assert not list(tmp_path.iterdir())


OPTUNA = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "privacy.noise_multiplier=interval(1.0,2.0)")


@pytest.mark.slow
def test_optuna_weighs_utility_against_epsilon_and_goes_on_where_it_was(command, tmp_path):
    pytest.importorskip("optuna")
    ended = command("sweep", *TINY, *OPTUNA)
    assert ended.code == 0, ended
    assert "3 runs: 3 trained" in ended.out
    assert "covers no choice among runs" in ended.out
    again = command("sweep", *TINY, *OPTUNA[:1], "hydra.sweeper.n_trials=4", *OPTUNA[2:])
    assert "4 runs: 1 trained, 3 done before" in again.out
    assert statuses(tmp_path) == ["completed"] * 4


@pytest.mark.slow
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
