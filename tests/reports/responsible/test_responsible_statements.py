"""What the panel on responsible AI says: computed from the runs, and no more than they show."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.reports.html.attack_results import KINDS, kind_of
from fedpriv.reports.html.panels import panels
from fedpriv.reports.html.responsible import section
from fedpriv.reports.html.responsible.attacks import attack_points
from fedpriv.reports.html.responsible.course import course
from fedpriv.reports.html.responsible.fairness import fairness_points
from fedpriv.reports.html.responsible.movement import movement
from fedpriv.reports.html.responsible.privacy import largest_share_right, privacy_points
from fedpriv.reports.html.responsible.unmeasured import unmeasured
from fedpriv.runs import find_runs
from fedpriv.runs.statistics import mean_interval


def followed(runs):
    (panel,) = panels(runs.runs)
    found = course(panel)
    assert found is not None
    return found


def said(points):
    return {point.about: point.text for point in points}


def of(runs, epsilon, measure):
    found = [one for one in runs if (one.epsilon and round(one.epsilon)) == epsilon]
    return [measure(one) for one in sorted(found, key=lambda one: one.record.seed)]


# -- which settings ----------------------------------------------------------------------------------------


def test_a_course_goes_from_the_smallest_epsilon_to_no_privacy(attacked):
    assert [setting.budget for setting in followed(attacked).settings] == ["epsilon 1", "epsilon 8", "no privacy"]


def test_runs_of_which_only_accuracy_is_known_have_no_panel(run_digits, tmp_path):
    run_digits("rounds=1", output_dir=tmp_path)
    (panel,) = panels(find_runs([tmp_path]).runs)
    assert section(panel, with_galleries=True) is None


@pytest.mark.slow
def test_of_two_series_the_one_that_was_attacked_is_followed_and_the_other_is_never_mixed_in(run_digits, tmp_path):
    same = ("model=mlp", "rounds=1", "evaluation.clients=false", "split.client_holdout=0.5", "privacy.epsilon=8")
    run_digits(*same, "training.lr=0.1", output_dir=tmp_path)
    run_digits(*same, "training.lr=0.3", "attack=loss_threshold", output_dir=tmp_path)
    found = followed(find_runs([tmp_path]))
    assert found.series == "training.lr=0.3"
    assert [one.config["training"]["lr"] for one in found.runs] == [0.3]


@pytest.mark.slow
def test_two_mechanisms_are_never_one_course(run_digits, tmp_path):
    same = ("model=mlp", "rounds=1", "split.client_holdout=0.5", "privacy.accept_weak_delta=true", "privacy.epsilon=8")
    run_digits(*same, "privacy=central", "attack=loss_threshold", output_dir=tmp_path)
    run_digits(*same, "privacy=central_adaptive", "privacy.epsilon=4", "attack=loss_threshold", output_dir=tmp_path)
    run_digits(*same[:3], "privacy=none", output_dir=tmp_path)
    found = followed(find_runs([tmp_path]))
    assert found.series in ("privacy=central", "privacy=central_adaptive")
    assert len(found.others) == 1
    mechanisms = [one.config["privacy"]["mechanism"] for one in found.runs]
    assert mechanisms == [found.series.removeprefix("privacy="), "none"]


# -- privacy -----------------------------------------------------------------------------------------------


@given(st.floats(0, 30), st.floats(0, 0.1))
def test_the_odds_are_the_corner_of_the_region_of_tests_that_the_guarantee_allows(epsilon, delta):
    share = largest_share_right(epsilon, delta)
    errors = 1 - share  # of both kinds alike
    assert 0.5 <= share <= 1
    assert errors == pytest.approx(max(0.0, (1 - delta) / (1 + math.exp(epsilon))), rel=1e-6, abs=1e-12)


def test_randomised_response_attains_the_odds():
    # It tells the truth with probability e^eps / (1 + e^eps), and is (eps, 0)-private (Warner 1965).
    assert largest_share_right(math.log(3), 0.0) == pytest.approx(0.75, abs=1e-12)
    assert largest_share_right(1000.0, 1e-5) == 1.0


def test_what_is_promised_names_unit_observer_and_both_ends(attacked):
    told = said(privacy_points(followed(attacked)))
    claim = next(one.guarantee for one in attacked if one.epsilon)
    assert told["Promised"].startswith("to one training example, from epsilon 1 to epsilon 8 (delta ")
    assert claim["observer"] in told["Promised"]
    strict = max((one.guarantee for one in attacked if one.epsilon and one.epsilon < 2), key=lambda one: one["epsilon"])
    share = largest_share_right(strict["epsilon"], strict["delta"])
    quoted = float(told["In odds:"].split("at most ")[1].split(" %")[0])
    assert share * 100 <= quoted < share * 100 + 0.1
    assert told["No promise."] == "Nothing is promised to anybody without privacy."
    assert "recorded seed" in told["Simulation:"]


def test_accuracy_is_told_at_both_ends_with_the_change_seed_by_seed(attacked):
    text = said(privacy_points(followed(attacked)))["Test accuracy:"]
    start, end = (of(attacked, epsilon, lambda one: one.value) for epsilon in (None, 1))
    change = mean_interval([b - a for a, b in zip(start, end, strict=True)])
    assert f"{np.mean(start):.3f} (" in text.split("without privacy")[0]
    assert f"{np.mean(end):.3f} (" in text.split("without privacy")[1]
    assert f"{change.mean:+.3f} ({change.low:+.3f} to {change.high:+.3f})" in text
    assert ("more than seeds explain" in text) == (not change.low <= 0 <= change.high)


def test_without_any_guarantee_nothing_is_promised(attacked):
    bare = find_runs([one.path for one in attacked if one.epsilon is None])
    told = said(privacy_points(followed(bare)))
    assert told["Promised to nobody."] == "None of these runs has a guarantee."
    assert "In odds:" not in told


# -- attacks -----------------------------------------------------------------------------------------------


def test_every_attack_has_a_statement_with_its_means_and_what_guessing_gets(attacked):
    told = said(attack_points(followed(attacked)))
    assert len(told) == 3
    for name, key in (("loss_threshold", "auc"), ("analytic_inversion", "success"), ("label_recovery", "success")):
        (text,) = (text for about, text in told.items() if about.startswith(name))
        for epsilon in (None, 1):
            mean = np.mean(of(attacked, epsilon, lambda one: one.record.extra["attacks"][name][key]))  # noqa: B023
            assert f"{mean:.3f}" in text
    assert "Guessing gets 0.5." in next(text for about, text in told.items() if "membership" in about)
    assert "nearest other image of the data has" in next(t for about, t in told.items() if "reconstruction" in about)
    assert "at random finds" in next(text for about, text in told.items() if about.startswith("label_recovery tries"))


def test_an_attack_is_called_better_than_guessing_only_where_its_interval_is(attacked):
    for one in attacked:
        auc = {None: 0.9, 8: 0.8, 1: 0.5}[one.epsilon and round(one.epsilon)] + 0.02 * one.record.seed
        one.record.extra["attacks"]["loss_threshold"]["auc"] = auc
    words = said(attack_points(followed(attacked)))
    (text,) = (text for about, text in words.items() if about.startswith("loss_threshold"))
    assert "At epsilon 1 the attack is no better than guessing, as far as these seeds tell." in text
    for one in attacked:
        one.record.extra["attacks"]["loss_threshold"]["auc"] += 0.3 * (one.epsilon is not None)
    (text,) = (t for about, t in said(attack_points(followed(attacked))).items() if about.startswith("loss_threshold"))
    assert "At epsilon 1 the attack is better than guessing." in text


def test_every_kind_of_result_is_known_by_its_keys():
    results = {
        "membership inference": {"auc": 0.5, "tpr_at_1pct_fpr": None},
        "property inference": {"auc": 0.9, "success": 0.9, "property": "sex: Female"},
        "attribute inference": {"auc": 0.9, "success": 0.9, "attribute": "sex: Female"},
        "reconstruction": {"psnr": 60.0, "success": 1.0, "baseline": 14.0},
        "label recovery": {"success": 1.0, "precision": 1.0, "baseline": 0.5},
        "malicious clients": {"success": 0.9, "baseline": 0.1, "baseline_accuracy": 0.9, "attackers": [1]},
        "attacks by the toolbox": {"success": 0.9, "baseline": 0.1, "accuracy": 0.1, "baseline_accuracy": 0.9},
    }
    assert set(results) == {kind.name for kind in KINDS}
    for name, found in results.items():
        kind = kind_of(found)
        assert kind is not None
        assert kind.name == name
    assert kind_of({"something": 1}) is None


def test_an_attack_unlike_any_other_is_named_and_one_without_numbers_is_not_measurable(attacked):
    for one in attacked:
        one.record.extra["attacks"] |= {
            "odd": {"score": 3},
            "property_inference": {"property": "label 8", "success": None, "auc": None, "control": None},
        }
    told = said(attack_points(followed(attacked)))
    assert told["Also made:"].startswith("odd,")
    (text,) = (text for about, text in told.items() if about.startswith("property_inference"))
    assert text == "not measurable in these runs."


def test_an_adversary_against_whom_nothing_is_promised_is_called_one(attacked):
    loss = {"auc": 0.6, "tpr_at_1pct_fpr": None, "level": "example"}
    for one in attacked:
        one.record.extra["attacks"] = {
            "server": {**loss, "sees": "updates"},
            "of_clients": {**loss, "sees": "final_model", "level": "client"},
        }
    told = said(attack_points(followed(attacked)))
    server, of_clients = (next(t for about, t in told.items() if about.startswith(n)) for n in ("server", "of_clients"))
    assert "nothing is promised" not in server  # example-level noise is added before an update leaves its client
    assert (
        "At epsilon 1 nothing is promised against this adversary, who sees the final model and asks about" in of_clients
    )


def test_a_trusted_server_that_turns_on_its_clients_is_not_covered(run_digits, tmp_path):
    given = ("model=mlp", "rounds=1", "split.client_holdout=0.5", "privacy.accept_weak_delta=true", "privacy.epsilon=8")
    run_digits(*given, "privacy=central", "attack=[loss_threshold]", output_dir=tmp_path)
    runs = find_runs([tmp_path])
    runs[0].record.extra["attacks"]["property_inference"] = {
        "property": "label 8",
        "success": 0.9,
        "control": 0.5,
        "sees": "updates",
        "level": "client",
    }
    told = said(attack_points(followed(runs)))
    text = next(text for about, text in told.items() if about.startswith("property_inference"))
    assert "nothing is promised against this adversary, who sees clients' updates and asks about clients." in text


# -- fairness ----------------------------------------------------------------------------------------------


def test_the_worst_off_and_the_one_that_pays_most_are_named(by_sex):
    told = said(fairness_points(followed(by_sex)))
    worst = told["Worst off by sex at epsilon 1:"]
    assert worst.startswith("“women”, test accuracy 0.895 ")
    assert " without privacy, 0.690 " in worst
    assert worst.endswith("Best off: “men”, 0.860.")
    pays = told["Pays most by sex:"]
    assert pays.startswith("“women”, test accuracy -0.205")
    assert "; least: “men”, -0.055" in pays
    parity = told["Difference in demographic parity by sex:"]
    assert "0.105 (0.041 to 0.169) without privacy, 0.210 " in parity
    assert told["Difference in equalised odds by sex:"].endswith(": +0.000 with every seed. 0 is no difference.")
    assert told["Few by sex:"].startswith("“women” has 12 test examples.")


def test_a_change_that_seeds_explain_is_told_as_one(by_sex):
    for one in by_sex:
        sign = -1 if one.epsilon is None else 1
        one.record.extra["fairness"]["sex"]["demographic_parity_difference"] = 0.1 + 0.1 * one.record.seed * sign
    told = said(fairness_points(followed(by_sex)))
    assert "no more than seeds differ by" in told["Difference in demographic parity by sex:"]


def test_whom_a_membership_attack_finds_most_is_told_at_both_ends(by_sex):
    for one in by_sex:
        areas = {"women": {"auc": 0.7 if one.epsilon is None else 0.52}, "men": {"auc": 0.51}, "few": {"auc": None}}
        one.record.extra["attacks"]["loss_threshold"]["by_group"] = {"sex": areas}
    (text,) = (point.text for point in fairness_points(followed(by_sex)) if point.about.startswith("Found by"))
    first, second, *_ = text.split("; ")
    assert first == "without privacy most easily “women” (AUC 0.700), least easily “men” (0.510)"
    assert second.startswith("at epsilon 1 most easily “women” (AUC 0.520), least easily “men” (0.510)")


# -- not measured ------------------------------------------------------------------------------------------


def test_what_was_not_measured_is_said(attacked):
    told = " ".join(unmeasured(followed(attacked)))
    for line in ("property inference", "malicious clients", "No claim was audited", "name no sensitive group"):
        assert line in told
    assert "membership inference" not in told
    assert "one seed" not in told
    some = attacked[:1]
    some[0].record.extra["attacks"] = {}
    some[0].record.extra["fairness"] = {"sex": {"not_measured": "personal layers"}}
    told = " ".join(unmeasured(followed(some)))
    assert "Fairness by sex: personal layers." in told
    assert "there is one seed only" in told
    assert "membership inference" in told


def test_one_seed_gives_no_verdict(attacked):
    one = find_runs([run.path for run in attacked if run.record.seed == 0])
    found = movement(followed(one), lambda run: run.value, metric="test_accuracy")
    assert found is not None
    assert found.moved is None
    assert "of one seed, so how sure that is nobody knows" in found.said()
