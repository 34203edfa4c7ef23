"""ART's attacks on a finished run: what they find, what they are given, what is refused."""

import json
import shutil
import sys

import numpy as np
import pytest

from fedpriv.attacks.toolbox import ArtEvasion, ArtMembership, ArtPoisoning, as_classifier
from fedpriv.config import compose
from fedpriv.errors import ConfigError
from fedpriv.experiment.assembly import Experiment
from fedpriv.experiment.attacking import saved_model
from fedpriv.experiment.attacking.challenge import Challenge
from fedpriv.experiment.attacking.toolbox import training_known

WORDS = (
    "attack=[art_evasion,art_membership,art_poisoning]",
    "attack.art_evasion.examples=100",
    "attack.art_evasion.steps=5",
    "attack.art_evasion.eps=0.3",
    "attack.art_membership.candidates=400",
    "attack.art_poisoning.epochs=60",
    "attack.art_poisoning.lr=0.05",
)


@pytest.fixture
def run_folder(run_digits, tmp_path):
    ran = run_digits("privacy=none", "rounds=5", "training.local_epochs=3")
    return shutil.copytree(ran.folder, tmp_path / "run")


@pytest.mark.slow
def test_without_the_library_one_message_names_the_extra(command, run_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "art.estimators", None)
    told = command("attack", str(run_folder), "attack=art_evasion")
    assert told.code == 2
    assert told.err.count("\n") == 1
    assert "pip install 'fedpriv[art]'" in told.err


def test_three_attacks_on_a_saved_run_give_figures(command, run_folder):
    pytest.importorskip("art.estimators")
    told = command("attack", str(run_folder), *WORDS)
    assert (told.code, told.err) == (0, "")
    found = json.loads((run_folder / "run.json").read_text())["attacks"]
    evasion, poisoning, membership = (found[f"art_{name}"] for name in ("evasion", "poisoning", "membership"))
    assert evasion["success"] > 0.5 > evasion["baseline"]
    assert 0 < evasion["largest_change"] <= 0.3 + 1e-6
    assert poisoning["success"] > 0.8 > 0.4 > poisoning["baseline"]
    assert poisoning["accuracy"] > 0.8
    assert membership["known"] == membership["members"] + membership["non_members"] == 200
    assert 0.3 < membership["auc"] < 0.8
    assert all(f"art_{name}: " in command("show", str(run_folder)).out for name in ("evasion", "membership"))
    assert command("verify", str(run_folder)).code == 0


def test_the_same_run_gives_the_same_figures(command, run_folder, tmp_path):
    pytest.importorskip("art.estimators")
    again = shutil.copytree(run_folder, tmp_path / "again")
    for folder in (run_folder, again):
        np.random.seed(len(str(folder)))  # ART's coins are not whatever happens to be there
        assert command("attack", str(folder), *WORDS).code == 0
    told = [json.loads((folder / "run.json").read_text())["attacks"] for folder in (run_folder, again)]
    assert told[0] == told[1]


def test_the_classifier_answers_as_the_model_of_the_run(run_folder):
    pytest.importorskip("art.estimators")
    facts = saved_model(run_folder)
    experiment = Experiment.assemble(compose(["experiment=digits_smoke"], config_dir=None))
    x, y = next(experiment.data.test_batches(10_000))
    classifier = as_classifier(facts, lr=None)
    accuracy = float((classifier.predict(x.numpy()).argmax(axis=1) == y.numpy()).mean())
    assert accuracy == json.loads((run_folder / "run.json").read_text())["metrics"]["test_accuracy"]
    low, high = classifier.clip_values
    assert (low <= x.numpy().min(axis=0)).all()
    assert (high >= x.numpy().max(axis=0)).all()


def test_who_is_asked_about_is_not_among_those_that_are_known():
    experiment = Experiment.assemble(compose(["experiment=digits_smoke"], config_dir=None))
    data, count = experiment.data, 60
    challenge = Challenge(
        data=data,
        groups=[np.array([row]) for row in range(count)],
        holders=np.zeros(count, dtype=np.int64),
        members=np.arange(count) % 2 == 0,
        others="test",
    )
    seen, members = training_known(None, challenge, 40, np.random.default_rng(0))
    assert len(seen.x) == len(members) == 20
    known = {x.tobytes() for x in [*seen.members_x, *seen.others_x]}
    assert len(known) == 20
    assert known.isdisjoint(x.tobytes() for x in seen.x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ArtEvasion(eps=0.0, steps=1, examples=1), "eps=0.0"),
        (lambda: ArtEvasion(eps=0.1, steps=0, examples=1), "steps"),
        (lambda: ArtMembership(attack_model="rf", candidates=2), "candidates=2"),
        (lambda: ArtPoisoning(target=0, poisoned=2.0, epochs=1, lr=0.1, batch_size=8), "poisoned=2.0"),
        (lambda: ArtPoisoning(target=0, poisoned=0.5, epochs=0, lr=0.1, batch_size=8), "epochs"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["attack=art_poisoning", "attack.art_poisoning.target=10"], "target=10 is no label"),
        (["attack=art_evasion", "data=breast_cancer"], "no images"),
        (["attack=art_membership", "data=breast_cancer", "task=binary"], "of classes"),
    ],
)
def test_what_cannot_be_attacked_is_one_message_before_there_is_a_folder(command, tmp_path, words, message):
    pytest.importorskip("art.estimators")
    told = command("run", "experiment=digits_smoke", f"output_dir={tmp_path / 'runs'}", *words)
    assert told.code == 2, told
    assert message in told.err
    assert not (tmp_path / "runs").exists()
