import pytest

from fedpriv.runs import find_runs
from fedpriv.runs.likeness import comparable, differences

OTHER = {
    "delta": {"guarantee": {"delta": 1e-5}},
    "unit": {"guarantee": {"unit": "client"}},
    "relation": {"guarantee": {"relation": "replace_one"}},
    "trust model": {"guarantee": {"trust_model": "central"}},
    "accountant": {"guarantee": {"accountant": "rdp"}},
    "sampling": {"guarantee": {"sampling": {"kind": "fixed_size", "of": "examples into batches"}}},
    "metric": {"extra": {"task": {"headline": "test_loss", "higher_is_better": False}}},
    "data": {"config": {"data._target_": "fedpriv.data.sources.breast_cancer"}},
    "code": {"revision": "def"},
    "packages": {"packages": {"torch": "2.1", "rich": "14.0"}},
}


@pytest.mark.parametrize("name", OTHER)
def test_what_is_unlike_is_told_and_stands_apart(new_run, name):
    alike, other = [new_run({"seed": seed}) for seed in (0, 1)], new_run(**OTHER[name])
    warnings = differences([*alike, other])
    assert [warning.partition(" differs")[0] for warning in warnings] == [name]
    assert "(2)" in warnings[0]
    groups = comparable([*alike, other])
    assert [group.runs for group in groups] == [tuple(alike), (other,)]
    assert groups[0].title != groups[1].title
    assert all(f"{name} " in group.title for group in groups)


def test_runs_of_one_sweep_are_alike(swept):
    runs = find_runs([swept])
    assert differences(runs) == []
    (group,) = comparable(runs)
    assert group.runs == runs.runs
    assert group.title == "unit example, relation add_or_remove_one, delta 0.000337"
    assert comparable([]) == []


def test_settings_and_seeds_and_drawing_packages_are_no_difference(new_run):
    runs = [
        new_run(),
        new_run({"seed": 7, "privacy.epsilon": 1.0, "training.lr": 3.0}, packages={"torch": "2.0", "rich": "15.0"}),
    ]
    assert differences(runs) == []


def test_a_baseline_without_a_claim_stands_with_every_group(new_run):
    baseline = new_run({"privacy.mechanism": "none"}, guarantee=None)
    one, other = new_run(), new_run(guarantee={"unit": "client"})
    assert [group.runs for group in comparable([baseline, one, other])] == [(baseline, one), (baseline, other)]
    strange = new_run(guarantee=None, revision="def")
    assert [group.runs for group in comparable([strange, one])] == [(strange,), (one,)]
    assert comparable([baseline])[0].title == "no guarantee"


def test_a_delta_that_moves_with_the_number_of_examples_is_the_same(new_run):
    near, far = (
        [new_run(guarantee={"delta": delta}) for delta in (1.00e-4, 1.04e-4)],
        new_run(guarantee={"delta": 1.1e-4}),
    )
    assert differences(near) == []
    assert [group.runs for group in comparable([*near, far])] == [tuple(near), (far,)]


def _met(new_run, fingerprint, **config):
    task = {"headline": "test_accuracy", "higher_is_better": True}
    return new_run(config, extra={"task": task, "data": {"fingerprint": fingerprint}})


def test_other_content_under_the_same_seed_is_other_data(new_run):
    seeds = [_met(new_run, "aa", seed=0), _met(new_run, "bb", seed=1)]
    assert differences(seeds) == []  # the seed divides the data
    changed = _met(new_run, "cc", seed=0, **{"privacy.epsilon": 1.0})
    assert [w.partition(" differs")[0] for w in differences([*seeds, changed])] == ["data content"]
    elsewhere = _met(new_run, "aa", seed=0, **{"data.root": "/mnt"})
    assert differences([*seeds, elsewhere]) == []


def test_other_code_of_ones_own_is_told(new_run):
    task = {"headline": "test_accuracy", "higher_is_better": True}
    runs = [new_run(extra={"task": task, "own_code": code}) for code in ({"mine.Net": "1"}, {"mine.Net": "2"}, {})]
    assert [w.partition(" differs")[0] for w in differences(runs)] == ["own code"]
    assert len(comparable(runs)) == 3
    assert len(comparable([*runs, new_run()])) == 3  # of an earlier fedpriv: not recorded


def test_seeds_of_one_state_of_the_data_stay_together(new_run):
    """Each data seed has a fingerprint of its own, before and after the file was changed."""
    runs = [
        new_run({"seed": seed}, extra={"data": {"fingerprint": f"{state}{seed}" * 8}})
        for state in ("a", "b")
        for seed in (0, 1)
    ]
    (warning,) = differences(runs)
    assert warning.startswith("data content differs: version 1 (2), version 2 (2)")
    assert [group.runs for group in comparable(runs)] == [tuple(runs[:2]), tuple(runs[2:])]
