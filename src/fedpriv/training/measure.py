"""How well a model does a task on given examples."""

from collections.abc import Iterable

import torch
from torch import nn

from .tasks import Task


def measure(
    model: nn.Module,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    *,
    task: Task,
    device: torch.device,
) -> dict[str, float]:
    """The task's metrics and the mean ``loss``, over all batches together; nothing about the model changes.

    No batch, no entry.
    """
    was_training = model.training
    model.eval()
    outputs, targets = [], []
    with torch.no_grad():
        for x, y in batches:
            outputs.append(model(x.to(device)).cpu())
            targets.append(y)
        model.train(was_training)
        if not outputs or not sum(map(len, outputs)):
            return {}
        given, true = torch.cat(outputs), torch.cat(targets)
        loss = float(task.loss_sum(given.double(), true)) / len(true)
        return {**task.metrics(given, true), "loss": loss}
