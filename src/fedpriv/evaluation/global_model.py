"""How good the global model is on the server's own test set."""

import torch
from torch import nn

from fedpriv.data import FederatedData
from fedpriv.training import Task

_BATCH = 1024


def evaluate_global(model: nn.Module, *, data: FederatedData, task: Task, device: torch.device) -> dict[str, float]:
    """``test_accuracy`` and mean ``test_loss`` of ``model`` as it stands; nothing about it changes."""
    was_training = model.training
    model.eval()
    correct, loss, count = 0.0, 0.0, 0
    with torch.no_grad():
        for x, y in data.test_batches(_BATCH):
            inputs, targets = x.to(device), y.to(device)
            outputs = model(inputs)
            correct += float(task.correct(outputs, targets))
            loss += float(task.loss_sum(outputs, targets))
            count += len(y)
    model.train(was_training)
    return {"test_accuracy": correct / max(count, 1), "test_loss": loss / max(count, 1)}
