"""`fedpriv attack`: what it prints, keeps and refuses."""

import json
import shutil

import pytest


@pytest.fixture
def run_folder(run_digits, tmp_path):
    return shutil.copytree(run_digits("rounds=1", "privacy=none").folder, tmp_path / "run")


def test_a_finished_run_is_attacked_and_shows_it(command, run_folder):
    told = command("attack", str(run_folder), "attack=loss_threshold")
    assert (told.code, told.err) == (0, "")
    assert told.out.startswith("loss_threshold: AUC 0.")
    kept = json.loads((run_folder / "run.json").read_text())["attacks"]["loss_threshold"]
    assert f"AUC {kept['auc']:.3f}" in told.out
    assert "TPR at 1 % FPR not measurable" in told.out  # 359 test examples
    assert told.out.strip() in command("show", str(run_folder)).out
    assert command("verify", str(run_folder)).code == 0


def test_compare_tells_what_attacks_got(command, run_folder, tmp_path):
    unattacked = shutil.copytree(run_folder, tmp_path / "unattacked")
    assert "attacks.loss_threshold" not in command("compare", str(run_folder), str(unattacked)).out
    command("attack", str(run_folder), "attack=loss_threshold")
    auc = json.loads((run_folder / "run.json").read_text())["attacks"]["loss_threshold"]["auc"]
    told = command("compare", str(run_folder), str(unattacked))
    assert told.code == 0
    (line,) = (line.split() for line in told.out.splitlines() if "attacks.loss_threshold.auc" in line)
    assert line == ["attacks.loss_threshold.auc", f"{auc:.4f}", "-"]


def test_json_is_one_object_of_all_attacks(command, run_folder):
    command("attack", str(run_folder), "attack=loss_threshold")
    asked = ("attack=rmia", "attack.rmia.shadows=4", "attack.rmia.offline_a=0.3", "workers=1")
    told = command("attack", str(run_folder), *asked, "--json")
    assert json.loads(told.out).keys() == {"loss_threshold", "rmia"}
    assert json.loads(told.out)["rmia"]["settings"]["offline_a"] == 0.3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["attack=loss_threshold", "rounds=5"], "rounds=5: the run is what it is"),
        ([], "No attack is named"),
        (["attack=client_cosine"], "no non-members"),
        (["attack=loss_drop"], "nobody watched"),
        (["attack=everything"], "everything"),
    ],
)
def test_what_cannot_be_done_is_one_message_and_exit_code_2(command, run_folder, words, message):
    told = command("attack", str(run_folder), *words)
    assert told.code == 2
    assert message in told.err
    assert told.err.count("\n") == 1
    assert not (run_folder / "attacks").exists()


def test_a_replay_of_an_attacked_run_is_the_same(command, run_folder):
    command("attack", str(run_folder), "attack=loss_threshold")
    told = command("replay", str(run_folder))
    assert told.code == 0, told.out
    assert "left out  attacks: not part of the result" in told.out
