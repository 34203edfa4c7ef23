"""How a model does on sensitive groups: against counts by hand, plain formulas, and what cannot be measured."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fedpriv.data import Dataset, Examples, federate
from fedpriv.evaluation import evaluate_groups
from fedpriv.evaluation.fairness import differences
from fedpriv.training import Binary, Classification, Regression

CPU = torch.device("cpu")
DIFFERENCES = ("demographic_parity_difference", "equalized_odds_difference", "equal_opportunity_difference")


def federated(y, group, *, num_classes=2, x=None):
    """Everything is for the test, but for one training example of group 0."""
    features = np.asarray(y if x is None else x, np.float32)[:, None]
    dataset = Dataset(
        train=Examples(features[:1], np.asarray(y)[:1]),
        test=Examples(features, np.asarray(y)),
        num_classes=num_classes,
        groups={"sex": np.asarray([0, *group])},
        group_names={"sex": ("Female", "Male", "unseen")},
    )
    return federate(dataset, np.zeros(1, np.int64), num_clients=1, min_examples=0)


def told(data, model=None, task=None):
    return evaluate_groups(model or nn.Identity(), data=data, task=task or Binary(), device=CPU)["sex"]


def test_the_entries_are_those_of_a_table_counted_by_hand():
    # Female: 1 of 4 selected (tp 1 of 2, fp 0 of 2); Male: 3 of 5 selected (tp 2 of 2, fp 1 of 3)
    true = [1, 1, 0, 0, 1, 1, 0, 0, 0]
    logit = [1.0, -1.0, -1.0, -1.0, 1.0, 1.0, 1.0, -1.0, -1.0]
    found = told(federated(true, [0] * 4 + [1] * 5, x=logit))
    assert [found[name] for name in DIFFERENCES] == pytest.approx([3 / 5 - 1 / 4, 1 / 2, 1 / 2])
    assert found["accuracy_by_group"] == pytest.approx({"Female": 3 / 4, "Male": 4 / 5})
    assert found["selection_rate_by_group"] == pytest.approx({"Female": 1 / 4, "Male": 3 / 5})
    assert found["test_examples_by_group"] == {"Female": 4, "Male": 5}
    hand = np.log1p(np.exp(np.array([-1.0, 1.0, -1.0, -1.0]))).mean()
    assert found["loss_by_group"]["Female"] == pytest.approx(hand, rel=1e-6)


@settings(max_examples=20)  # fairlearn takes its time
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 2)), min_size=1, max_size=60))
def test_differences_are_largest_minus_smallest_rate(rows):
    every = [(t, p, g) for g in range(3) for t in (0, 1) for p in (0,)]  # no group lacks a class
    true, predicted, groups = np.array([*every, *rows]).T
    rates = {
        kind: [predicted[(groups == g) & chosen].mean() for g in range(3)]
        for kind, chosen in (("all", true >= 0), ("positive", true == 1), ("negative", true == 0))
    }
    gaps = {kind: max(values) - min(values) for kind, values in rates.items()}
    found = differences(true=true, predicted=predicted, groups=groups)
    wanted = [gaps["all"], max(gaps["positive"], gaps["negative"]), gaps["positive"]]
    assert [found[name] for name in DIFFERENCES] == pytest.approx(wanted)


def test_rates_that_a_group_lacks_give_no_difference():
    true, groups = np.array([1, 0, 0, 0]), np.array([0, 0, 1, 1])
    found = differences(true=true, predicted=np.array([1, 0, 1, 0]), groups=groups)
    assert found == {DIFFERENCES[0]: 0.0, DIFFERENCES[1]: None, DIFFERENCES[2]: None}
    found = differences(true=1 - true, predicted=np.array([1, 0, 1, 0]), groups=groups)
    assert found == {DIFFERENCES[0]: 0.0, DIFFERENCES[1]: None, DIFFERENCES[2]: 0.5}


def test_of_one_group_there_is_no_difference_but_an_accuracy():
    found = told(federated([1, 0, 1], [0, 0, 0]))
    assert {found[name] for name in DIFFERENCES} == {None}
    assert found["accuracy_by_group"].keys() == {"Female"}


def test_two_logits_say_the_same_as_one():
    class TwoLogits(nn.Module):
        def forward(self, x):
            return torch.cat([torch.zeros_like(x), x], dim=1)

    data = federated([1, 1, 0, 0, 1, 0], [0, 0, 0, 1, 1, 1], x=[1.0, -1.0, 2.0, -2.0, 3.0, 1.0])
    one, two = told(data), told(data, TwoLogits(), Classification(num_classes=2))
    assert [one[name] for name in (*DIFFERENCES, "accuracy_by_group")] == [
        two[name] for name in (*DIFFERENCES, "accuracy_by_group")
    ]


def test_more_classes_have_accuracies_by_group_and_no_differences():
    class Answers(nn.Module):
        def forward(self, x):
            return nn.functional.one_hot(x[:, 0].long(), 3).float()

    data = federated([0, 1, 2, 2], [0, 0, 1, 1], num_classes=3, x=[0, 1, 2, 0])
    found = told(data, Answers(), Classification(num_classes=3))
    assert {found[name] for name in (*DIFFERENCES, "selection_rate_by_group")} == {None}
    assert found["accuracy_by_group"] == {"Female": 1.0, "Male": 0.5}


def test_numbers_have_errors_by_group_and_no_accuracy():
    data = federated([0.0, 1.0, 2.0], [0, 0, 1], num_classes=None, x=[0.5, 1.5, 2.0])
    data = replace(data, test=Examples(data.test.x, data.test.y.astype(np.float32)))
    found = told(data, task=Regression(low=-1.0, high=1.0))
    assert found["accuracy_by_group"] is None
    assert found["rmse_by_group"] == pytest.approx({"Female": 0.5, "Male": 0.0})
    assert found["r2_by_group"]["Male"] is None  # of one example
