"""Reconstruction of real runs' clients: what a message holds is found, what noise hides is not, and nothing changes."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedpriv.errors import ConfigError

ATTACKS = "attack=[analytic_inversion,gradient_inversion,label_recovery]"
QUICK = (
    "attack.gradient_inversion.method=idlg",
    "attack.gradient_inversion.messages=3",
    "attack.gradient_inversion.starts=2",
    "attack.gradient_inversion.iterations=200",
)
PLAIN = ("privacy=none", "model=mlp", "rounds=1")


@pytest.fixture(scope="module")
def attacked(run_digits, tmp_path_factory):
    return run_digits(*PLAIN, ATTACKS, *QUICK, output_dir=tmp_path_factory.mktemp("attacked"))


def results(ran) -> dict:
    return ran.record.extra["attacks"]


def test_without_privacy_a_clients_message_gives_images_and_labels_away(attacked):
    found = results(attacked)
    assert found["analytic_inversion"]["psnr"] > 60
    assert found["analytic_inversion"]["success"] == 1.0
    assert found["gradient_inversion"]["psnr"] > found["gradient_inversion"]["baseline"]
    assert found["label_recovery"]["success"] > 0.85
    assert found["label_recovery"]["success"] > found["label_recovery"]["baseline"] + 0.2
    assert 12 < found["analytic_inversion"]["baseline"] < 25  # 15.5 dB for a digit at random


def test_the_run_is_the_same_without_the_attacks(attacked, run_digits, tmp_path):
    plain = run_digits(*PLAIN, output_dir=tmp_path)
    assert plain.record.run_id == attacked.record.run_id
    assert (plain.folder / "model.safetensors").read_bytes() == (attacked.folder / "model.safetensors").read_bytes()
    assert "attacks" not in plain.record.extra


@pytest.mark.slow
def test_the_same_afterwards_by_command(attacked, run_digits, command, tmp_path):
    plain = run_digits(*PLAIN, output_dir=tmp_path)
    told = command("attack", str(plain.folder), ATTACKS, *QUICK, "--json")
    assert told.code == 0, told.err
    assert json.loads(told.out) == results(attacked)


def picture(uri: str) -> np.ndarray:
    head, _, body = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body, validate=True))))


def test_the_gallery_shows_truth_reconstruction_and_nearest_other(attacked):
    kept = json.loads((attacked.folder / "attacks" / "analytic_inversion.json").read_text())
    assert len(kept["gallery"]) == 8  # of 16
    assert len(kept["by_image"]["psnr"]) == 16
    for one in kept["gallery"]:
        assert set(one) == {"truth", "reconstruction", "nearest", "psnr", "baseline", "label"}
        truth, found, nearest = (picture(one[name]) for name in ("truth", "reconstruction", "nearest"))
        assert truth.shape == (8, 8)
        assert np.abs(truth.astype(int) - found).max() <= 1  # at 60 dB and more only rounding is left
        assert not (truth == nearest).all()
        assert int(one["label"]) in range(10)
    assert "gallery" not in results(attacked)["analytic_inversion"]  # run.json holds figures only


@pytest.mark.parametrize("privacy", ["local_gaussian", "example"])
def test_noise_of_the_clients_own_hides_them(run_digits, tmp_path, privacy):
    own = (f"privacy={privacy}", "privacy.epsilon=1", "model=mlp", "rounds=1", "attack=analytic_inversion")
    told = results(run_digits(*own, output_dir=tmp_path))["analytic_inversion"]
    assert told["psnr"] < told["baseline"]
    assert told["success_interval"][0] < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("model", ["initial", "final"])
def test_a_trusted_server_reads_what_clipping_alone_does_not_hide(run_digits, tmp_path, model):
    own = ("privacy=central", "privacy.epsilon=8", "model=mlp", "rounds=1", "attack=[analytic_inversion]")
    told = results(run_digits(*own, f"attack.analytic_inversion.model={model}", output_dir=tmp_path))
    assert told["analytic_inversion"]["psnr"] > 60
    assert told["analytic_inversion"]["model"] == model


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("privacy=distributed", "privacy.epsilon=8", "attack=label_recovery"), "masked shares"),
        (("privacy=none", "model=cnn", "attack=analytic_inversion"), "does not begin with one.*model=mlp"),
        (("attack=label_recovery", "attack.label_recovery.batch_size=1000"), "no client has 1000 examples"),
        (("attack=gradient_inversion", "attack.gradient_inversion.method=dgl"), "dlg, idlg, cosine"),
        (
            (
                "attack=gradient_inversion",
                "attack.gradient_inversion.method=idlg",
                "attack.gradient_inversion.batch_size=2",
            ),
            "idlg reads the label of one example",
        ),
        (("privacy=none", "training.optimizer._target_=torch.optim.Adam", "attack=label_recovery"), "no multiple"),
        (("privacy=none", "strategy=scaffold", "attack=label_recovery"), "strategy=scaffold"),
    ],
)
def test_what_a_run_cannot_give_is_refused_before_it_trains(run_digits, tmp_path, overrides, message):
    with pytest.raises(ConfigError, match=message):
        run_digits(*overrides, output_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_data_that_are_no_images_have_no_image_metrics(run_digits, tmp_path):
    with pytest.raises(ConfigError, match=r"no images.*label_recovery"):
        run_digits("data=breast_cancer", "attack=gradient_inversion", output_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_nearly_all_labels_of_eight_are_found_on_mnist(command, tmp_path):
    asked = ("experiment=mnist5k_no_privacy", "rounds=1", "attack=label_recovery", f"output_dir={tmp_path}")
    assert command("run", *asked).code == 0
    (path,) = Path(tmp_path).glob("*/*/run.json")
    found = json.loads(path.read_text())["attacks"]["label_recovery"]
    assert found["success"] > 0.85
    assert found["success"] > found["baseline"] + 0.2
