"""Losses, metrics and baselines, held to definitions written out and to other libraries."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from torch.nn import functional

from fedpriv.errors import ConfigError
from fedpriv.training import AdditiveTask, Binary, Classification, NextToken, Regression, Survival, make_task


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_binary_agrees_with_scikit_learn():
    outputs, targets = normal(50, 1), torch.arange(50) % 2
    measured = Binary().metrics(outputs, targets)
    assert measured["auroc"] == pytest.approx(metrics.roc_auc_score(targets, outputs[:, 0]))
    assert measured["accuracy"] == pytest.approx(metrics.accuracy_score(targets, outputs[:, 0] > 0))
    assert float(Binary().loss_sum(outputs, targets)) == pytest.approx(
        50 * metrics.log_loss(targets, torch.sigmoid(outputs[:, 0]).double()), rel=1e-5
    )


def test_the_area_under_the_curve_needs_both_classes():
    assert math.isnan(Binary().metrics(normal(5, 1), torch.ones(5, dtype=torch.int64))["auroc"])


def test_regression_learns_in_the_public_range_and_reports_in_the_targets_own_unit():
    task = Regression(low=100.0, high=300.0)
    outputs, targets = normal(40, 1), 200 + 50 * normal(40, seed=1)
    predicted = (200 + 100 * outputs[:, 0]).numpy()
    measured = task.metrics(outputs, targets)
    assert measured["rmse"] == pytest.approx(metrics.root_mean_squared_error(targets, predicted), rel=1e-5)
    assert measured["mae"] == pytest.approx(metrics.mean_absolute_error(targets, predicted), rel=1e-5)
    assert measured["r2"] == pytest.approx(metrics.r2_score(targets, predicted), rel=1e-5)
    scaled = ((targets - 200) / 100 - outputs[:, 0]) ** 2
    assert float(task.loss_sum(outputs, targets)) == pytest.approx(float(scaled.sum()) / 2, rel=1e-5)


def test_the_regression_baseline_is_the_error_of_the_mean():
    targets = normal(30)
    task = Regression(low=-1.0, high=1.0)
    constant = torch.full((30, 1), float(targets.mean()))
    assert task.baseline(targets) == pytest.approx(task.metrics(constant, targets)["rmse"], rel=1e-5)


def test_next_token_averages_an_example_over_its_positions():
    task = NextToken(length=5, num_classes=4)
    outputs, targets = normal(3, 5, 4), torch.arange(15).reshape(3, 5) % 4
    by_hand = sum(functional.cross_entropy(outputs[i], targets[i], reduction="mean") for i in range(3))
    assert float(task.loss_sum(outputs, targets)) == pytest.approx(float(by_hand), rel=1e-5)
    measured = task.metrics(outputs, targets)
    assert measured["accuracy"] == float((outputs.argmax(2) == targets).double().mean())
    assert measured["perplexity"] == pytest.approx(math.exp(float(by_hand) / 3), rel=1e-5)


# -- survival ----------------------------------------------------------------------------------------------


def breslow(risk, time, event):
    """Minus the log partial likelihood (Cox 1972; ties by Breslow 1974), term by term."""
    return -sum(
        risk[i] - math.log(sum(math.exp(risk[j]) for j in range(len(risk)) if time[j] >= time[i]))
        for i in range(len(risk))
        if event[i]
    )


def harrell(risk, time, event):
    """Harrell's C, pair by pair."""
    right = pairs = 0.0
    for i in range(len(risk)):
        for j in range(len(risk)):
            if event[i] and time[i] < time[j]:
                pairs += 1
                right += 1.0 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0.0
    return right / pairs if pairs else math.nan


patients = st.lists(
    st.tuples(st.integers(-3, 3), st.integers(1, 5), st.integers(0, 1)), min_size=1, max_size=12
)


@settings(max_examples=60)
@given(patients)
def test_survival_agrees_with_the_definitions_ties_included(rows):
    risk, time, event = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    outputs = torch.tensor(risk, dtype=torch.float64)[:, None]
    targets = torch.tensor(np.stack([time, event], axis=1))
    assert float(Survival().loss_sum(outputs, targets)) == pytest.approx(breslow(risk, time, event), abs=1e-9)
    c_index = Survival().metrics(outputs, targets)["c_index"]
    assert c_index == pytest.approx(harrell(risk, time, event), nan_ok=True)


def test_a_batch_without_an_event_teaches_nothing():
    outputs = normal(4, 1).requires_grad_()
    loss = Survival().loss_sum(outputs, torch.tensor([[1.0, 0], [2, 0], [3, 0], [4, 0]]))
    loss.backward()
    assert float(loss.detach()) == 0
    assert not outputs.grad.any()


def test_the_cox_loss_is_no_sum_over_examples():
    """Why example-level DP is refused: one patient's risk changes other patients' terms."""
    task, targets = Survival(), torch.tensor([[1.0, 1], [2, 1], [3, 1]])
    whole = task.loss_sum(normal(3, 1), targets)
    parts = sum(task.loss_sum(normal(3, 1)[i : i + 1], targets[i : i + 1]) for i in range(3))
    assert float(parts) == 0
    assert float(whole) > 0.3
    assert not isinstance(task, AdditiveTask)


# -- the choice --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "targets", "num_classes", "kind"),
    [
        ("auto", "classes", 3, Classification),
        ("auto", "classes", 2, Classification),
        ("binary", "classes", 2, Binary),
        ("auto", "numbers", None, Regression),
        ("auto", "sequences", 9, NextToken),
        ("auto", "survival", None, Survival),
    ],
)
def test_the_labels_say_what_the_task_is(name, targets, num_classes, kind):
    shape = {"sequences": (7,), "survival": (2,)}.get(targets, ())
    task = make_task(name, targets=targets, label_shape=shape, num_classes=num_classes, label_range=None)
    assert isinstance(task, kind)
    if kind is NextToken:
        assert task.output_shape == (7, 9)


@pytest.mark.parametrize(
    ("name", "targets", "num_classes"),
    [("binary", "classes", 3), ("regression", "classes", 3), ("classification", "numbers", None)],
)
def test_a_task_that_does_not_fit_the_labels_is_refused(name, targets, num_classes):
    with pytest.raises(ConfigError, match=f"task={name} does not fit .*; use task="):
        make_task(name, targets=targets, label_shape=(), num_classes=num_classes, label_range=None)


@pytest.mark.parametrize("targets", [torch.tensor([0, 1, 1, 2, 1]), torch.tensor([1, 1])])
def test_the_baseline_of_classes_is_the_share_of_the_largest(targets):
    share = torch.bincount(targets).max().item() / len(targets)
    assert Classification(num_classes=3).baseline(targets) == share
