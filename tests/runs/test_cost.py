import math

import pytest

from fedpriv.runs import find_runs
from fedpriv.runs.cost import costs_of_privacy, difference, floor
from fedpriv.runs.settings import settings
from fedpriv.runs.statistics import holm, paired_difference


@pytest.mark.slow
def test_every_private_setting_is_held_against_both_baselines(swept):
    found = settings(find_runs([swept]))
    costs = costs_of_privacy(found)
    assert {(cost.setting.label[-1], cost.kind) for cost in costs} == {
        (epsilon, kind) for epsilon in "28" for kind in ("without privacy", "clipped, without noise")
    }
    for cost in costs:
        mine, theirs = ({seeds[0]: v for seeds, v in s.by_seed.items()} for s in (cost.setting, cost.baseline))
        assert cost.difference == paired_difference(mine, theirs)
        assert cost.difference.interval.n == 2
    tested = [cost for cost in costs if cost.difference.p_value is not None]
    assert [cost.p_holm for cost in tested] == holm([cost.difference.p_value for cost in tested])
    assert 0 < floor(found) < 0.2


def test_a_baseline_differs_in_nothing_but_privacy(new_run):
    private = new_run()
    other = {"privacy.mechanism": "none", "privacy.max_grad_norm": None, "privacy.epsilon": None}
    same = new_run(other, guarantee=None)
    longer = new_run({**other, "rounds": 9}, guarantee=None)
    looser = new_run({"privacy.epsilon": math.inf, "privacy.max_grad_norm": 9.0}, guarantee=None)
    (cost,) = costs_of_privacy(settings([private, same, longer, looser]))
    assert cost.baseline.runs == (same,)
    assert (cost.difference.p_value, cost.p_holm) == (None, None)  # one seed


def test_the_baseline_without_privacy_is_the_best_that_was_tuned(new_run):
    plain = {"privacy.mechanism": "none"}
    private = new_run({"training.lr": 0.5}, value=0.7)
    diverged = new_run({**plain, "training.lr": 0.5}, guarantee=None, value=0.1)
    best = new_run({**plain, "training.lr": 0.1}, guarantee=None, value=0.9)
    other_problem = new_run({**plain, "partition.alpha": 100.0}, guarantee=None, value=0.95)
    (cost,) = costs_of_privacy(settings([private, diverged, best, other_problem]))
    assert cost.baseline.runs == (best,)
    assert cost.difference.interval.mean == pytest.approx(-0.2)


def test_what_has_no_noise_is_the_partner_of_every_noise_seed(new_run):
    private = [new_run({"seeds.noise": n}, value=value) for n, value in ((1, 0.5), (2, 0.7))]
    plain = new_run({"privacy.mechanism": "none"}, guarantee=None, value=0.9)
    a, b = settings([*private, plain])
    found = difference(a, b, metric="test_accuracy")
    assert (found.interval.n, found.interval.mean) == (2, pytest.approx(-0.3))
    elsewhere = new_run({"privacy.mechanism": "none", "seeds.data": 5}, guarantee=None)
    assert difference(a, settings([elsewhere])[0], metric="test_accuracy") is None
    (cost,) = costs_of_privacy(settings([*private, elsewhere]))
    assert (cost.difference, cost.p_holm) == (None, None)


def test_without_a_constant_answer_there_is_no_floor(new_run):
    assert floor(settings([new_run(metrics={"test_accuracy": 0.5})])) is None
