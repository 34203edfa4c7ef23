import math

import pytest

from fedpriv import config
from fedpriv.runs import find_runs
from fedpriv.runs.settings import WITHOUT_EFFECT, in_words, seeds_of, settings, swept_keys


def test_what_the_run_id_leaves_out_is_no_setting():
    assert set(config._NOT_HASHED) <= WITHOUT_EFFECT


def test_a_sweep_is_grouped_by_all_but_seeds(swept):
    found = settings(find_runs([swept]))
    assert sorted(setting.label for setting in found) == [
        "privacy=example privacy.epsilon=2",
        "privacy=example privacy.epsilon=8",
        "privacy=example privacy.epsilon=inf",
        "privacy=none",
    ]
    assert [len(setting.runs) for setting in found] == [2] * 4
    assert {setting.label: setting.varied for setting in found}["privacy=none"] == ("data", "sampling", "model")
    by_label = {setting.label: setting for setting in found}
    assert by_label["privacy=example privacy.epsilon=8"].varied == ("data", "sampling", "model", "noise")
    assert by_label["privacy=none"].epsilon is None
    two = by_label["privacy=example privacy.epsilon=2"]
    assert two.config["privacy.epsilon"] == 2.0
    assert two.interval.n == 2
    assert two.epsilon == max(run.epsilon for run in two.runs)


def test_seeds_and_places_are_not_swept(new_run):
    runs = [
        new_run({"seed": 1, "workers": 8, "name": "other", "output_dir": "x", "clients_per_node": 1, "force": True}),
        new_run({"seeds.noise": 4, "tracking": {"kind": "none"}, "runtime.kind": "inprocess"}),
        new_run(),
    ]
    assert swept_keys(runs) == []
    (setting,) = settings(runs)
    assert (setting.label, len(setting.runs)) == ("all alike", 3)


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        ([{"privacy.epsilon": 1.0}, {}], "privacy.epsilon=1"),
        ([{"training.lr": 0.05}, {}], "training.lr=0.05"),
        ([{"model._target_": "fedpriv.models.mlp", "model.hidden": [8]}, {}], "model=mlp"),
        ([{"privacy.epsilon": math.inf}, {}], "privacy.epsilon=inf"),
        ([{"privacy.mechanism": "none", "privacy.epsilon": None}, {}], "privacy=none"),
        ([{"model.hidden": [8, 4]}, {"model.hidden": [16]}], "model.hidden=[8, 4]"),
        ([{"tuning.chunk_size": True}, {"tuning.chunk_size": 1}], "tuning.chunk_size=true"),
    ],
)
def test_a_setting_is_called_by_what_differs(new_run, changes, label):
    assert settings(new_run(change) for change in changes)[0].label == label


def test_a_key_that_only_one_has_is_swept(new_run):
    assert swept_keys([new_run(), new_run({"model.hidden": None})]) == ["model.hidden"]


def test_words_are_those_one_would_type():
    assert [in_words(x) for x in (None, True, 0.1, 4.0, 1e-5, 3, "a b", [1, "x"], {"k": None})] == [
        "null", "true", "0.1", "4", "1e-05", "3", "a b", "[1, x]", "{k: null}",
    ]  # fmt: skip
    assert in_words(0.1234567) == "0.1234567"


def test_seeds_are_those_that_decided_the_run(new_run):
    assert seeds_of(new_run({"seed": 3})) == (3, 3, 3, 3)
    assert seeds_of(new_run({"seed": 3, "seeds.data": 0, "seeds.noise": "secret"})) == (0, 3, 3, "secret of 1f0c5a")
    assert seeds_of(new_run({"seed": 3, "privacy.mechanism": "none"})) == (3, 3, 3, None)
    assert seeds_of(new_run({"seed": 0, "privacy.epsilon": math.inf})) == (0, 0, 0, None)


def test_runs_that_differ_in_the_seed_of_noise_that_is_not_there_count_once(new_run):
    plain = {"privacy.mechanism": "none"}
    (setting,) = settings(new_run({**plain, "seeds.noise": n}, guarantee=None, value=0.9) for n in (1, 2, 3))
    assert setting.interval.n == 1


def test_a_setting_claims_only_what_all_of_its_runs_claim(new_run):
    runs = [new_run({"seed": 1}, guarantee={"epsilon": 3.0}), new_run({"seed": 2}, guarantee={"epsilon": 3.5})]
    assert settings(runs)[0].epsilon == 3.5
    assert settings([*runs, new_run({"seed": 3}, guarantee=None)])[0].epsilon is None


def test_a_run_without_its_metric_is_left_out_of_the_mean(new_run):
    (setting,) = settings([new_run({"seed": 1}, value=None), new_run({"seed": 2}, value=0.4)])
    assert (setting.interval.mean, setting.interval.n) == (0.4, 1)
    assert settings([new_run(value=None)])[0].interval is None
