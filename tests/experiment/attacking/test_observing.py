"""Attacks during and after a run: nothing of the run changes, and what it cannot give is refused in time."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedpriv.errors import ConfigError
from fedpriv.experiment import attack_run
from fedpriv.experiment.attacking.watching import SeenRounds
from fedpriv.records.run_folder import RunFolder
from fedpriv.tracking import Callback

WATCHING = "attack=[update_cosine,loss_drop]"
FEW = ("attack.update_cosine.candidates=20", "attack.loss_drop.candidates=200")


def silent(_: str) -> None:
    return


class Stopping(Callback):
    """Ctrl-C after the second round."""

    folder = Path()

    def round_done(self, row: Mapping[str, Any], failures: Mapping[int, str]) -> None:
        if row["round"] == 2:
            raise KeyboardInterrupt


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize(
    "privacy", ["example", *(pytest.param(name, marks=pytest.mark.slow) for name in ("none", "central"))]
)
def test_watching_leaves_every_weight_as_it_was(run_digits, tmp_path, privacy):
    own = ("rounds=2", f"privacy={privacy}", *(["privacy.epsilon=8"] * (privacy == "central")))
    plain = run_digits(*own)
    watched = run_digits(*own, WATCHING, *FEW, output_dir=tmp_path)
    assert watched.record.run_id == plain.record.run_id
    for name in ("model.safetensors", "ledger.jsonl"):
        assert digest(watched.folder / name) == digest(plain.folder / name)
    assert watched.record.extra["attacks"].keys() == {"update_cosine", "loss_drop"}
    assert "attacks" not in plain.record.extra


def test_a_watched_run_says_what_was_seen_and_found(run_digits, tmp_path):
    ran = run_digits("rounds=2", "privacy=none", WATCHING, *FEW, output_dir=tmp_path)
    found = json.loads((ran.folder / "run.json").read_text())["attacks"]["update_cosine"]
    assert (found["level"], found["sees"], found["members"], found["non_members"]) == ("example", "updates", 10, 10)
    assert found["non_members_from"] == "test"
    assert found["tpr_at_1pct_fpr"] is None  # ten non-members measure no such rate
    assert found["auc_interval"][0] <= found["auc"] <= found["auc_interval"][1]
    curve = json.loads((ran.folder / "attacks" / "update_cosine.json").read_text())["roc"]
    assert (curve["fpr"][-1], curve["tpr"][-1]) == (1.0, 1.0)
    assert len(list((ran.folder / "attacks" / "watched").glob("*.safetensors"))) == 2


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["attack=client_cosine"], "no non-members.*split.held_out_clients"),
        (["attack=client_regression"], "no non-members.*split.held_out_clients"),
        (["attack=loss_threshold", "split.client_holdout=0.001"], "no non-members.*client_holdout=0.001"),
        (["attack=update_cosine", "privacy=distributed", "privacy.epsilon=8"], "sees updates.*masked shares"),
        (
            [
                "attack=update_cosine",
                "attack.update_cosine.sees=sums",
                "privacy=central_per_layer",
                "privacy.epsilon=8",
            ],
            "sees sums.*units of its own",
        ),
        (
            [
                "attack=loss_drop",
                "privacy=none",
                "strategy=flower",
                "strategy.flower._target_=flwr.serverapp.strategy.FedAvg",
            ],
            "watches rounds.*strategy=flower",
        ),
        (
            ["attack=loss_threshold", "privacy=none", "strategy=personal_layers", "strategy.personal=['output.bias']"],
            "needs a whole model",
        ),
        (["attack=lira_online", "attack.lira_online.shadows=5"], "shadows=5 must be even"),
        (["attack=lira_online", "attack.lira_online.variance=some"], "variance=some is unknown"),
        (["attack=update_cosine", "attack.update_cosine.sees=all"], "sees=all is unknown"),
        (["attack=loss_drop", "attack.loss_drop.candidates=1"], "candidates=1 must be at least 2"),
        (["attack=loss_threshold", "+attack.loss_threshold.shadows=4"], "takes no such argument"),
        (["+attack.mine=3"], "attack.mine=3 must be an attack"),
        (["+attack.mine._target_=fedpriv.models.mlp"], "does not make a .*MembershipAttack"),
    ],
)
def test_what_a_run_cannot_give_is_refused_before_it_trains(run_digits, tmp_path, overrides, message):
    with pytest.raises(ConfigError, match=message):
        run_digits(*overrides, output_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_rounds_that_nobody_watched_cannot_be_attacked(run_digits, tmp_path):
    ran = run_digits("rounds=2", "privacy=none")
    folder = shutil.copytree(ran.folder, tmp_path / "run")
    spec = {"_target_": "fedpriv.attacks.membership.LossDrop", "candidates": 100}
    with pytest.raises(ConfigError, match=r"attack=loss_drop sees global_models.*nobody watched.*output_dir"):
        attack_run(folder, {"loss_drop": spec}, workers=1, tell=silent)


def test_sums_do_not_become_updates(run_digits, tmp_path):
    """Notes hold what was asked for, and no more."""
    one = ("attack=update_cosine", "attack.update_cosine.sees=sums", *FEW[:1])
    ran = run_digits("rounds=2", "privacy=none", *one, output_dir=tmp_path)
    spec = {"_target_": "fedpriv.attacks.membership.UpdateCosine", "sees": "updates", "candidates": 20}
    with pytest.raises(ConfigError, match="sees updates"):
        attack_run(ran.folder, {"more": spec}, workers=1, tell=silent)


def test_an_attack_with_the_same_settings_is_not_made_again(run_digits, tmp_path):
    ran = run_digits("rounds=1", "privacy=none", "attack=loss_threshold", output_dir=tmp_path)
    before = (ran.folder / "run.json").stat().st_mtime_ns
    again = run_digits("rounds=1", "privacy=none", "attack=loss_threshold", output_dir=tmp_path)
    assert (ran.folder / "run.json").stat().st_mtime_ns == before
    assert again.record.extra["attacks"] == ran.record.extra["attacks"]


def test_an_unfinished_run_is_not_attacked(run_digits, tmp_path):
    ran = run_digits("rounds=1", "privacy=none", output_dir=tmp_path)
    record = json.loads((ran.folder / "run.json").read_text())
    (ran.folder / "run.json").write_text(json.dumps({**record, "status": "interrupted"}))
    with pytest.raises(ConfigError, match=r"is interrupted, not finished.*fedpriv resume"):
        attack_run(ran.folder, {}, workers=1, tell=silent)


@pytest.mark.slow
def test_a_stopped_run_is_watched_on(run_digits, tmp_path):
    own = ("rounds=3", "privacy=none", WATCHING, *FEW)
    whole = run_digits(*own, output_dir=tmp_path / "whole")
    with pytest.raises(Exception, match="Interrupted"):
        run_digits(*own, output_dir=tmp_path / "stopped", reporter=Stopping())
    stopped = run_digits(*own, output_dir=tmp_path / "stopped")
    assert stopped.record.extra["attacks"] == whole.record.extra["attacks"]
    assert RunFolder(stopped.folder).read_run_json().extra["attacks"] == whole.record.extra["attacks"]


@pytest.mark.slow
def test_several_workers_see_the_same(run_digits, tmp_path):
    own = ("rounds=1", "privacy=none", WATCHING, *FEW)
    one = run_digits(*own, "workers=1", output_dir=tmp_path / "one")
    two = run_digits(*own, "workers=2", output_dir=tmp_path / "two")
    assert one.record.extra["attacks"] == two.record.extra["attacks"]
    assert np.isfinite(one.record.extra["attacks"]["loss_drop"]["auc"])


@pytest.mark.slow
@pytest.mark.parametrize("privacy", [pytest.param("none", marks=pytest.mark.slow), "central_adaptive"])
def test_notes_are_of_those_who_answered_and_add_up(run_digits, tmp_path, privacy):
    own = ["rounds=2", f"privacy={privacy}", "federation.dropout=0.5", "attack=update_cosine", *FEW[:1]]
    own += ["privacy.epsilon=8"] * (privacy != "none")
    notes = {}
    for sees in ("updates", "sums"):
        ran = run_digits(*own, f"attack.update_cosine.sees={sees}", output_dir=tmp_path / sees)
        notes[sees] = SeenRounds(ran.folder, attack="update_cosine", sees=sees, last_round=2)
    answered = []
    for alone, together in zip(notes["updates"], notes["sums"], strict=True):
        assert alone.total is None
        assert together.updates is None
        assert set(alone.updates) <= set(alone.cohort.tolist())
        answered.append(len(alone.updates))
        added = torch.stack(list(alone.updates.values())).double().sum(dim=0)
        assert torch.allclose(added, together.total.double(), rtol=1e-4, atol=1e-4)
        assert (alone.parameters == together.parameters).all()
    assert 0 < min(answered) < 10
