"""The panel's small figures: one axis of epsilon for all, and what guessing gets beside what was got."""

import numpy as np
import pytest

import fedpriv
from fedpriv.reports.html.figures import FIGURES
from fedpriv.reports.html.responsible.privacy import largest_share_right

NAMES = [name for name in FIGURES if name.startswith("responsible_")]


def layers(name, runs):
    """Mark -> rows of a figure's layers."""
    spec = fedpriv.report.figure(name, runs).to_dict()
    found = {}
    for layer in spec["layer"]:
        inner = layer["layer"][-1] if "layer" in layer else layer
        source = inner.get("data", layer.get("data", spec.get("data")))
        rows = source["values"] if "values" in source else spec["datasets"][source["name"]]
        mark = inner["mark"] if isinstance(inner["mark"], str) else inner["mark"]["type"]
        dashed = isinstance(inner["mark"], dict) and "strokeDash" in inner["mark"]
        found["dashed" if dashed else mark] = rows
    return found


def axes(name, runs):
    found = []

    def walk(spec):
        if isinstance(spec, dict):
            if isinstance(spec.get("x"), dict) and spec["x"].get("field") == "place":
                found.append((spec["x"]["scale"]["domain"], spec["x"]["axis"]["values"]))
            for inner in spec.values():
                walk(inner)
        elif isinstance(spec, list):
            for inner in spec:
                walk(inner)

    walk(fedpriv.report.figure(name, runs).to_dict())
    return found


def budget_of(run):
    return f"epsilon {round(run.epsilon)}" if run.epsilon else "no privacy"


@pytest.mark.slow
def test_all_figures_share_one_axis_of_epsilon(by_sex):
    every = [axis for name in NAMES for axis in axes(name, by_sex)]
    assert len(NAMES) == 6
    assert len(every) >= 6
    assert all(axis == every[0] for axis in every)
    assert len(every[0][1]) == 3  # two epsilons, and no privacy


@pytest.mark.parametrize("name", NAMES)
def test_figures_have_a_point_for_each_setting_and_series(by_sex, name):
    points = layers(name, by_sex)["point"]
    series = {row["series"] for row in points}
    assert {(row["budget"], row["series"]) for row in points} == {
        (budget, one) for budget in ("epsilon 1", "epsilon 8", "no privacy") for one in series
    }
    assert len(points) == 3 * len(series)
    for row in points:  # none hides another
        assert sum(other["place"] == row["place"] for other in points) == 1


def test_points_are_the_means_of_their_runs_and_dashes_what_guessing_gets(by_sex):
    found = layers("responsible_attacks", by_sex)
    for row in found["point"]:
        mine = [one for one in by_sex if budget_of(one) == row["budget"]]
        values = [one.record.extra["attacks"][row["series"]]["success"] for one in mine]
        assert row["mean"] == pytest.approx(np.mean(values))
    assert {row["series"] for row in found["dashed"]} == {"label_recovery"}  # nothing is guessed in reconstruction
    assert {row["budget"] for row in found["dashed"]} == {"epsilon 1", "epsilon 8"}
    assert {row["budget"] for row in found["tick"]} == {"no privacy"}
    assert {row["chance"] for row in layers("responsible_membership", by_sex)["dashed"]} == {0.5}


def test_the_allowed_odds_are_those_of_the_guarantee_and_all_where_there_is_none(by_sex):
    rows = {row["budget"]: row["mean"] for row in layers("responsible_odds", by_sex)["point"]}
    claims = [one.guarantee for one in by_sex if one.epsilon and one.epsilon < 2]
    assert rows["epsilon 1"] == pytest.approx(np.mean([largest_share_right(c["epsilon"], c["delta"]) for c in claims]))
    assert rows["no privacy"] == 1


def test_runs_without_groups_have_no_figure_of_them(attacked):
    for name in ("responsible_accuracy", "responsible_gaps"):
        with pytest.raises(fedpriv.errors.InputError, match="nothing to draw"):
            fedpriv.report.figure(name, attacked)


def test_of_many_groups_the_worst_off_and_those_that_lose_most_are_drawn(attacked):
    for one in attacked:
        lost = 0.0 if one.epsilon is None else 0.01
        found = {str(n): 0.9 - n * lost for n in range(10)} | {"low": 0.2}
        one.record.extra["fairness"] = {"digit": {"accuracy_by_group": found}}
    series = {row["series"] for row in layers("responsible_accuracy", attacked)["point"]}
    assert series == {"digit: low", *(f"digit: {n}" for n in range(3, 10))}
