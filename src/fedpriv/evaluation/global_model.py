"""How good the global model is on the server's own test set."""

import torch
from torch import nn

from fedpriv.data import FederatedData
from fedpriv.training import Task, measure

_BATCH = 1024


def evaluate_global(model: nn.Module, *, data: FederatedData, task: Task, device: torch.device) -> dict[str, float]:
    """The task's metrics and the mean loss, each named ``test_...``; nothing about the model changes."""
    measured = measure(model, data.test_batches(_BATCH), task=task, device=device)
    return {f"test_{name}": value for name, value in measured.items()}


def baseline(data: FederatedData, *, task: Task) -> float:
    """The headline metric of the best constant answer on the server's test set (majority class, mean, ...)."""
    return task.baseline(torch.cat([y for _, y in data.test_batches(_BATCH)]))
