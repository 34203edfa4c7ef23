"""Runs with attackers among the clients: what changes, what does not, what is told, what is refused."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fedpriv.config import compose
from fedpriv.errors import ConfigError
from fedpriv.experiment import resume
from fedpriv.experiment.assembly import Experiment
from fedpriv.experiment.tampering import tampered_by
from fedpriv.records.tables import read_table
from fedpriv.runs.settings import flat

DIGITS = ("experiment=digits_smoke", "evaluation.clients=false")
PLAIN = ("privacy=none", "rounds=2")
STOCK = (
    *PLAIN,
    "strategy=flower",
    "strategy.flower._target_=flwr.serverapp.strategy.FedMedian",
)


def weights(ran):
    return load_file(ran.folder / "model.safetensors")


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def experiment(*overrides):
    return Experiment.assemble(compose([*DIGITS, *overrides], config_dir=None))


@pytest.mark.slow
@pytest.mark.parametrize(
    "setting",
    [PLAIN, STOCK, ("rounds=2",), ("rounds=2", "privacy=central", "privacy.epsilon=8")],
    ids=["plain", "stock", "example", "central"],
)
def test_no_attackers_leave_every_bit_as_it_is(run_digits, setting):
    clean = run_digits(*setting)
    attacked = run_digits(*setting, "attack=backdoor", "attack.backdoor.size=2", "attack.backdoor.attackers=0")
    assert same(weights(clean), weights(attacked))
    assert "test_backdoor_success" not in clean.record.metrics
    assert attacked.record.extra["attacks"]["backdoor"]["attackers"] == []


def test_without_noise_the_baseline_is_that_of_the_run_without_the_attack(run_digits):
    attacked = run_digits(*PLAIN, "attack=label_flip", "attack.label_flip.boost=5")
    clean = run_digits(*PLAIN)
    found = attacked.record.extra["attacks"]["label_flip"]
    assert not same(weights(clean), weights(attacked))
    tampered = tampered_by(experiment(*PLAIN, "attack=label_flip"))
    model = tampered.experiment.new_model()
    model.load_state_dict(weights(clean))
    assert found["baseline"] == tampered.outcome(model).success
    assert found["baseline_accuracy"] == pytest.approx(clean.record.metrics["test_accuracy"])
    assert found["success"] == attacked.record.metrics["test_label_flip_success"]
    assert found["accuracy"] == pytest.approx(attacked.record.metrics["test_accuracy"])


def test_success_is_told_after_every_tested_round(run_digits):
    ran = run_digits("privacy=none", "rounds=3", "evaluation.every=2", "attack=sign_flip")
    rows = read_table(ran.folder, "rounds").to_pylist()
    assert [row["round"] for row in rows if row["test_sign_flip_success"] is not None] == [2, 3]
    kept = json.loads((ran.folder / "attacks" / "sign_flip.json").read_text())
    assert kept["rounds"]["round"] == [2, 3]
    assert kept["rounds"]["success"][-1] == kept["success"]


def test_a_backdoor_opens_and_a_model_without_it_has_none(run_digits):
    ran = run_digits(
        "privacy=none",
        "rounds=10",
        "training.lr=0.2",
        "training.local_epochs=2",
        "attack=backdoor",
        "attack.backdoor.size=2",
        "attack.backdoor.boost=replace",
    )
    found = ran.record.extra["attacks"]["backdoor"]
    assert found["success"] > 0.8
    assert found["baseline"] < 0.2


def test_an_attackers_update_is_clipped_like_anybodys(run_digits):
    """However large: the model moves no further than the mechanism lets it."""
    setting = ("rounds=2", "privacy=central", "privacy.epsilon=inf", "privacy.clipping_norm=0.1")
    ran = run_digits(*setting, "attack=boosted", "attack.boosted.attackers=10", "attack.boosted.boost=1e6")
    begun = experiment(*setting).new_model().state_dict()
    moved = torch.cat([(tensor - begun[name]).flatten() for name, tensor in weights(ran).items()])
    clipped = read_table(ran.folder, "clients").column("diagnostic_clipped").to_numpy()
    assert np.all(clipped[~np.isnan(clipped)] == 1)
    rows = read_table(ran.folder, "rounds").to_pylist()
    expected = experiment(*setting).sampler(experiment(*setting).streams(None)).law.cohort
    most = sum(row["cohort"] for row in rows) / expected * 0.1
    assert 0 < float(moved.norm()) <= most * (1 + 1e-5)


def test_attackers_cost_no_epsilon_and_the_guarantee_names_them(run_digits):
    setting = ("rounds=2", "privacy=central", "privacy.epsilon=8")
    clean, attacked = run_digits(*setting), run_digits(*setting, "attack=boosted")
    assert clean.record.guarantee["epsilon"] == attacked.record.guarantee["epsilon"]
    said = (attacked.folder / "guarantee.md").read_text()
    assert "those of attack=boosted clip and add noise as all clients do" in said
    assert "what attack=boosted came to" in said
    assert "attack=" not in (clean.folder / "guarantee.md").read_text()


def test_what_is_tampered_with_has_a_run_id_of_its_own():
    ids = [
        experiment(*overrides).run_id()
        for overrides in (
            ("attack=none",),
            ("attack=loss_threshold",),
            ("attack=backdoor",),
            ("attack=backdoor", "attack.backdoor.boost=2"),
        )
    ]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


@pytest.mark.slow
def test_attackers_are_chosen_by_the_seed_among_clients_with_data():
    chosen = [tampered_by(experiment("attack=sign_flip", f"seed={seed}")).attackers for seed in (0, 0, 1, 2)]
    assert chosen[0] == chosen[1]
    assert len(set(chosen)) > 1
    held_out = ("split.held_out_clients=0.5", "attack=sign_flip", "attack.sign_flip.attackers=0.99")
    tampered = tampered_by(experiment(*held_out))
    assert tampered.attackers == set(tampered.experiment.data.population_ids.tolist())


def test_replacing_outweighs_the_cohort():
    """Two attackers of ten, all asked: five times; one of ten, half of them asked: five times, when it is there."""
    common = ("partition=iid", "strategy.weighting=uniform", "partition.num_clients=10", "attack=boosted")
    own = [*common, "attack.boosted.boost=replace", "privacy=none"]
    assert tampered_by(experiment(*own, "attack.boosted.attackers=2"))._replacing == pytest.approx(5)
    one = experiment(*own, "attack.boosted.attackers=1", "sampling.cohort=5")
    assert tampered_by(one)._replacing == pytest.approx(5)


@pytest.mark.slow
def test_workers_and_an_interruption_change_nothing(run_digits, tmp_path):
    setting = (*PLAIN, "attack=backdoor", "attack.backdoor.size=2")
    one = run_digits(*setting)
    two = run_digits(*setting, "workers=2", output_dir=tmp_path)
    assert same(weights(one), weights(two))
    assert one.record.extra["attacks"] == two.record.extra["attacks"]

    class Reporter:
        def __getattr__(self, name):
            return lambda *_, **__: None

    assert resume(two.folder, reporter=Reporter()).extra["attacks"] == two.record.extra["attacks"]


def test_settings_under_attack_are_not_averaged_with_those_without():
    def keys(*overrides):
        from dataclasses import asdict

        return flat(asdict(compose([*DIGITS, *overrides], config_dir=None)))

    assert keys("attack=loss_threshold") == keys()
    assert keys("attack=backdoor") != keys("attack=backdoor", "attack.backdoor.boost=2")
    assert "attack.backdoor.boost" in keys("attack=[backdoor,loss_threshold]")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["attack=[backdoor,label_flip]"], "choose one"),
        (["attack=backdoor", "attack.backdoor.size=8"], "covers images"),
        (["attack=label_flip", "attack.label_flip.source=10"], "source=10 is no label"),
        (["attack=label_flip", "attack.label_flip.attackers=null"], "attackers"),
        (["attack=label_flip", "attack.label_flip.attackers=99"], "attackers=99 are more"),
        (["attack=label_flip", "attack.label_flip.boost=much"], "boost"),
        (["attack=backdoor", "strategy=personal_layers", "strategy.personal=['*bias']", "privacy=none"], "personal"),
        (["attack=backdoor", "data=breast_cancer"], "no images"),
        (["attack=sign_flip", "data=breast_cancer", "task=binary"], "of classes"),
    ],
)
def test_what_cannot_be_run_is_one_message_before_there_is_a_folder(command, tmp_path, words, message):
    told = command("run", "experiment=digits_smoke", f"output_dir={tmp_path / 'runs'}", *words)
    assert told.code == 2, told
    assert message in told.err
    assert told.err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_nobody_tells_somebody_elses_clients_to_tamper(tmp_path, monkeypatch):
    (tmp_path / "theirs.py").write_text("from flwr.clientapp import ClientApp\n\napp = ClientApp()\n")
    monkeypatch.syspath_prepend(tmp_path)
    theirs = ("strategy=flower", "strategy.client_app=theirs:app", "privacy=none", "attack=boosted")
    with pytest.raises(ConfigError, match="nobody tells them"):
        tampered_by(experiment(*theirs)).check()


def test_a_finished_run_cannot_be_tampered_with(command, run_digits):
    clean = run_digits(*PLAIN)
    told = command("attack", str(clean.folder), "attack=backdoor")
    assert told.code == 2
    assert "part of a run" in told.err


def test_show_and_verify_and_replay_know_of_it(command, run_digits):
    ran = run_digits("privacy=none", "rounds=2", "attack=label_flip")
    assert "label_flip: success" in command("show", str(ran.folder)).out
    assert command("verify", str(ran.folder)).code == 0
    assert command("replay", str(ran.folder)).code == 0
