"""Who pays: how unequally a model serves sensitive groups of the server's test set.

The differences are fairlearn's (Bird et al. 2020, "Fairlearn: A toolkit for assessing and improving fairness in AI",
Microsoft MSR-TR-2020-32), each the largest over groups minus the smallest.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from fedpriv.data import FederatedData
from fedpriv.training import Task, answers, judged

_BATCH = 256
_DIFFERENCES = ("demographic_parity_difference", "equalized_odds_difference", "equal_opportunity_difference")
Numbers = Mapping[str, float]


def evaluate_groups(
    model: nn.Module, *, data: FederatedData, task: Task, device: torch.device
) -> dict[str, dict[str, Any]]:
    """Of each sensitive attribute of the data, how the model does on each of its groups among the test examples.

    | key | what |
    | --- | --- |
    | ``demographic_parity_difference`` | of the rates at which class 1 is predicted |
    | ``equalized_odds_difference`` | the larger of the differences in true and in false positive rates |
    | ``equal_opportunity_difference`` | of the true positive rates (Hardt, Price & Srebro 2016) |
    | ``accuracy_by_group``, ``loss_by_group``, ... | every metric of the task, and the mean loss |
    | ``selection_rate_by_group`` | share predicted to be of class 1 |
    | ``test_examples_by_group`` | how many there are |

    The differences and rates are of two classes: None for other labels. A difference of fewer than two groups is None,
    and so is one of rates that some group lacks, as it has no test example of the class; a group without test examples
    is left out; ``accuracy_by_group`` is None where the task has no accuracy.
    """
    found = answers(model, data.test_batches(_BATCH), device=device)
    if found is None:
        return {}
    outputs, targets = found
    predicted = _predicted(outputs) if data.targets == "classes" and data.num_classes == 2 else None
    return {
        attribute: _one_attribute(
            outputs, targets, predicted, groups=data.test_groups(attribute), names=data.names_of(attribute), task=task
        )
        for attribute in data.groups
    }


def _predicted(outputs: torch.Tensor) -> np.ndarray:
    """0 or 1 (n,), from one logit or two."""
    chosen = outputs[:, 0] > 0 if outputs.shape[1] == 1 else outputs.argmax(dim=1) == 1
    predicted: np.ndarray = chosen.numpy().astype(np.int64)
    return predicted


def _one_attribute(
    outputs: torch.Tensor,
    targets: torch.Tensor,
    predicted: np.ndarray | None,
    *,
    groups: np.ndarray,
    names: Sequence[str],
    task: Task,
) -> dict[str, Any]:
    rows = {names[code]: np.flatnonzero(groups == code) for code in np.unique(groups).tolist()}
    measured = {name: judged(outputs[own], targets[own], task=task) for name, own in rows.items()}
    metrics = ["accuracy", *(metric for metric in next(iter(measured.values())) if metric != "accuracy")]
    return {
        **differences(true=targets.numpy(), predicted=predicted, groups=groups),
        **{f"{metric}_by_group": _by_group(metric, measured) for metric in metrics},
        "selection_rate_by_group": None
        if predicted is None
        else {name: float(predicted[own].mean()) for name, own in rows.items()},
        "test_examples_by_group": {name: len(own) for name, own in rows.items()},
    }


def differences(*, true: np.ndarray, predicted: np.ndarray | None, groups: np.ndarray) -> dict[str, float | None]:
    """fairlearn's three differences between groups; None where a rate is not defined.

    Args:
        true, predicted: 0 or 1 (n,); ``predicted`` None where there are not two classes.
        groups: (n,).
    """
    nothing: dict[str, float | None] = dict.fromkeys(_DIFFERENCES)
    if predicted is None or len(np.unique(groups)) < 2:
        return nothing
    from fairlearn import metrics

    asked: dict[str, Any] = {"y_true": true, "y_pred": predicted, "sensitive_features": groups}
    found = {**nothing, _DIFFERENCES[0]: float(metrics.demographic_parity_difference(**asked))}
    classes = {group: set(true[groups == group].tolist()) for group in np.unique(groups).tolist()}
    positives, negatives = (all(label in own for own in classes.values()) for label in (1, 0))
    if positives:
        found[_DIFFERENCES[2]] = float(metrics.equal_opportunity_difference(**asked))
    if positives and negatives:
        found[_DIFFERENCES[1]] = float(metrics.equalized_odds_difference(**asked))
    return found


def _by_group(metric: str, measured: Mapping[str, Numbers]) -> dict[str, float | None] | None:
    """None for what the task does not measure."""
    found = {name: values.get(metric) for name, values in measured.items()}
    if all(value is None for value in found.values()):
        return None
    return {name: None if value is None or math.isnan(value) else value for name, value in found.items()}
