"""Pretrained weights, frozen layers and adapters in whole runs: what travels, what is noised, what is claimed."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fedpriv.accounting.guarantee import in_words
from fedpriv.config import compose
from fedpriv.errors import ConfigError, DataError
from fedpriv.experiment import Experiment
from fedpriv.verification import verify

MLP = ("model=mlp", "rounds=2")


@pytest.fixture(scope="module")
def pretrained(run_digits, tmp_path_factory):
    """A model that a run without privacy left."""
    ran = run_digits("privacy=none", *MLP, "seed=9", "rounds=3")
    path = tmp_path_factory.mktemp("pretrained") / "model.safetensors"
    shutil.copy(ran.folder / "model.safetensors", path)
    return path


def experiment(*overrides):
    return Experiment.assemble(compose(["experiment=digits_smoke", *overrides], config_dir=None))


@pytest.mark.slow
def test_training_starts_from_the_file(pretrained):
    model = experiment(*MLP, f"model.init={pretrained}").new_model()
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in load_file(pretrained).items())


@pytest.mark.slow
def test_only_what_is_trainable_travels_and_moves(run_digits, pretrained):
    ran = run_digits(*MLP, f"model.init={pretrained}", "model.trainable=['output.*']")
    before, after = load_file(pretrained), load_file(ran.folder / "model.safetensors")
    assert torch.equal(before["hidden1.weight"], after["hidden1.weight"])
    assert not torch.equal(before["output.weight"], after["output.weight"])
    built = experiment(*MLP, f"model.init={pretrained}", "model.trainable=['output.*']")
    assert built.layout(built.new_model()).names == ("output.weight", "output.bias")


@pytest.mark.slow
def test_lora_trains_the_adapters_alone(run_digits, pretrained):
    lora = (*MLP, f"model.init={pretrained}", "model.lora_rank=2", "model.lora_layers=['hidden1']")
    ran = run_digits(*lora)
    before, after = load_file(pretrained), load_file(ran.folder / "model.safetensors")
    assert torch.equal(before["hidden1.weight"], after["hidden1.base.weight"])
    assert torch.equal(before["output.weight"], after["output.weight"])
    assert after["hidden1.lora_up.weight"].abs().max() > 0
    built = experiment(*lora)
    assert built.layout(built.new_model()).size == 2 * (64 + 64)


def test_a_model_that_a_lora_run_left_can_be_trained_further(run_digits, pretrained):
    lora = (*MLP, "model.lora_rank=2", "privacy=none")
    first = run_digits(*lora, f"model.init={pretrained}")
    model = experiment(*lora, f"model.init={first.folder / 'model.safetensors'}").new_model()
    left = load_file(first.folder / "model.safetensors")
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in left.items())


def test_the_guarantee_says_that_the_initial_weights_count_as_public(run_digits, pretrained):
    ran = run_digits(*MLP, f"model.init={pretrained}")
    [caveat] = ran.record.guarantee["caveats"]
    assert "initial weights (model.init, sha256 " in caveat
    assert caveat in in_words(ran.record.guarantee)
    assert verify(ran.folder).holds
    assert run_digits(*MLP).record.guarantee["caveats"] == []


def test_a_caveat_cannot_be_taken_out_of_a_guarantee(run_digits, pretrained, tmp_path):
    ran = run_digits(*MLP, f"model.init={pretrained}")
    folder = shutil.copytree(ran.folder, tmp_path / "run")
    record = json.loads((folder / "run.json").read_text())
    for guarantee in (record["guarantee"], *record["guarantees"]):
        guarantee["not_covered"].remove(guarantee["caveats"].pop())
    (folder / "run.json").write_text(json.dumps(record))
    assert not verify(folder).holds


def test_the_run_id_is_of_the_weights_and_not_of_a_path_alone(pretrained, tmp_path):
    path = tmp_path / "weights.safetensors"
    shutil.copy(pretrained, path)
    first = experiment(*MLP, f"model.init={path}").run_id()
    tensors = load_file(path)
    tensors["output.bias"] = tensors["output.bias"] + 1
    save_file(tensors, path)
    assert experiment(*MLP, f"model.init={path}").run_id() != first


def test_what_the_file_lacks_is_told(run_digits, pretrained, tmp_path, silent_reporter):
    path = tmp_path / "backbone.safetensors"
    save_file({name: t for name, t in load_file(pretrained).items() if name.startswith("hidden")}, path)
    told = []
    silent_reporter.started = lambda folder, *, rounds_done, last_round, notes: told.extend(notes)
    run_digits(*MLP, f"model.init={path}", reporter=silent_reporter)
    assert told == ["model.init lacks output.weight, output.bias: these start at random"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("model.init=nowhere.safetensors",), r"model\.init: cannot read nowhere\.safetensors"),
        (("model.trainable=['fc9.*']",), "fc9"),
        (("model.trainable=fc",), r"must be a list of name patterns"),
        (("model.lora_rank=0",), "must be a whole number >= 1"),
        (("model.lora_rank=2", "model.lora_alpha=-1"), "must be a positive number"),
        (("model.lora_rank=2", "model.lora_layers=['conv*']"), "conv"),
        (("model.lora_alpha=2",), r"need model\.lora_rank=N"),
        (("model.lora_layers=['output']",), r"need model\.lora_rank=N"),
        (("model.lora_rank=11",), "saves nothing on output, whose narrow side is 10"),
        (("model.inti=x",), "inti"),
    ],
)
def test_a_slip_is_one_message_with_the_mend(overrides, message):
    with pytest.raises((ConfigError, DataError), match=message):
        experiment(*MLP, *overrides)


def test_noise_is_calibrated_to_what_travels(run_digits, pretrained):
    """Client level: the update that is clipped and noised is the adapters' alone."""
    central = ("privacy=central", "privacy.epsilon=8", "sampling=poisson", "sampling.cohort=5")
    ran = run_digits(*MLP, *central, f"model.init={pretrained}", "model.trainable=['output.*']")
    built = experiment(*MLP, *central, f"model.init={pretrained}", "model.trainable=['output.*']")
    assert built.layout(built.new_model()).size == 650
    assert np.isfinite(ran.record.guarantee["epsilon"])
