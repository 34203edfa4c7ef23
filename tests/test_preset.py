"""An experiment of one's own, written by fedpriv, is the experiment that it was written for."""

import pytest

from fedpriv.config import compose, conf_dir, preset
from fedpriv.errors import ConfigError

PRESETS = sorted(file.stem for file in (conf_dir() / "experiment").glob("*.yaml"))


def assert_same(overrides, folder, *, config_dir=None):
    file = folder / "experiment" / "mine.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(preset(overrides, config_dir=config_dir))
    assert compose(["experiment=mine"], config_dir=folder) == compose(overrides, config_dir=config_dir)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_be_written_with_a_tuning(name, tmp_path):
    assert_same([f"experiment={name}", "tuning.stack_size=8", "tuning.convolutions=native"], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["experiment=digits_smoke", "data=mnist5k", "model=cnn", "partition=shards"],
        ["experiment=mnist5k_client_dp", "privacy=none"],
        ["privacy.epsilon=inf", "seeds.noise=secret", "training.optimizer._target_=torch.optim.Adam"],
        ["privacy=none", "training.optimizer._target_=torch.optim.Adam", "+training.optimizer.betas=[0.8,0.9]"],
        ["data=table", "data.path=a: b.csv", "data.label=y", "+data.numeric.age=[0,100]", "model=logistic"],
        ["model=lenet", "model.lora_rank=2", "model.lora_layers=['fc*']", "name=no"],
    ],
    ids=" ".join,
)
def test_so_can_what_the_command_line_says(overrides, tmp_path):
    assert_same(overrides, tmp_path)


def test_choices_of_ones_own_stay_named(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "wide.yaml").write_text("_target_: fedpriv.models.mlp\nhidden: [128, 64]\n")
    assert_same(["experiment=digits_smoke", "model=wide"], tmp_path, config_dir=tmp_path)


def test_only_what_differs_is_said(tmp_path):
    text = preset(["experiment=digits_smoke", "tuning.stack_size=8"], config_dir=None)
    assert text.startswith("# @package _global_\n")
    assert "override /data: digits" in text
    assert "stack_size: 8" in text
    assert "mnist5k" not in text
    assert "seeds" not in text


def test_a_key_that_was_taken_out_is_refused():
    with pytest.raises(ConfigError, match="take out hidden"):
        preset(["experiment=digits_smoke", "model=mlp", "~model.hidden"], config_dir=None)
