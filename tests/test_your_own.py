"""The page docs/your_own.md, run from top to bottom; and what `fedpriv.run` makes of objects at hand."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import fedpriv
from fedpriv.errors import ConfigError
from fedpriv.models import mlp

PAGE = Path(__file__).parents[1] / "docs" / "your_own.md"
CELLS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
SMOKE = ("experiment=digits_smoke", "rounds=1", "evaluation.clients=false")


def test_the_page_is_short():
    assert len(CELLS) == 4
    assert sum(len(cell.strip().splitlines()) for cell in CELLS) < 40


@pytest.mark.slow
def test_the_page_runs_and_learns_under_its_epsilon(tmp_path):
    (tmp_path / "page.py").write_text("\n".join(CELLS))
    ran = subprocess.run([sys.executable, "page.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    printed = re.findall(r"^(0\.\d+) (\d\.\d+)$", ran.stdout, flags=re.MULTILINE)
    assert len(printed) == 2
    assert [float(accuracy) > least for (accuracy, _), least in zip(printed, (0.95, 0.85), strict=True)] == [True, True]
    assert all(0 < float(epsilon) <= 4 for _, epsilon in printed)
    # a run id of its own for each: the code of the page counts
    assert len(list(tmp_path.glob("outputs/rings/*/run.json"))) == 2


def test_a_model_may_be_an_object_and_keeps_what_the_overrides_say_of_its_training(tmp_path, monkeypatch):
    from safetensors.torch import load_file

    monkeypatch.chdir(tmp_path)
    record = fedpriv.run(*SMOKE, "model.trainable=['output.*']", model={"_target_": mlp, "hidden": [7]})
    saved = load_file(tmp_path / "outputs" / record.name / record.run_id / "model.safetensors")
    assert saved["hidden1.weight"].shape == (7, 64)
    assert record.guarantee["epsilon"] <= 8


@pytest.mark.parametrize("given", [lambda: None, {"hidden": [3]}, 3])
def test_what_cannot_be_found_again_is_refused(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"model: give a class or function that has a name"):
        fedpriv.run(*SMOKE, model=given)
    assert not list(tmp_path.iterdir())


def test_a_strategy_needs_the_choice_that_takes_it(tmp_path, monkeypatch):
    from flwr.serverapp.strategy import FedAvg

    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="need strategy=flower"):
        fedpriv.run(*SMOKE, flower=FedAvg)
