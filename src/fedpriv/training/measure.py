"""How well a model does a task on given examples."""

from collections.abc import Iterable

import torch
from torch import nn

from .tasks import Task


def answers(
    model: nn.Module, batches: Iterable[tuple[torch.Tensor, torch.Tensor]], *, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Outputs and targets of all batches together, on the CPU; nothing about the model changes. No batch, None."""
    was_training = model.training
    model.eval()
    outputs, targets = [], []
    with torch.no_grad():
        for x, y in batches:
            outputs.append(model(x.to(device)).cpu())
            targets.append(y)
        model.train(was_training)
    return (torch.cat(outputs), torch.cat(targets)) if outputs and sum(map(len, outputs)) else None


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
    found = answers(model, batches, device=device)
    return {} if found is None else judged(*found, task=task)


def judged(outputs: torch.Tensor, targets: torch.Tensor, *, task: Task) -> dict[str, float]:
    """The task's metrics and the mean ``loss`` of these answers."""
    with torch.no_grad():
        loss = float(task.loss_sum(outputs.double(), targets)) / len(targets)
        return {**task.metrics(outputs, targets), "loss": loss}
