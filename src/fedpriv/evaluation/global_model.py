"""How good the global model is on the server's own test set."""

import copy

import torch
from torch import nn

from fedpriv.data import FederatedData
from fedpriv.training import Task, measure

_BATCH = 256  # the activations of more leave the caches
_TOLERANCE = 1e-4  # relative; another memory format sums in another order


def evaluate_global(model: nn.Module, *, data: FederatedData, task: Task, device: torch.device) -> dict[str, float]:
    """The task's metrics and the mean loss, each named ``test_...``; nothing about the model changes."""
    measured = measure(model, data.test_batches(_BATCH), task=task, device=device)
    return {f"test_{name}": value for name, value in measured.items()}


def baseline(data: FederatedData, *, task: Task) -> float:
    """The headline metric of the best constant answer on the server's test set (majority class, mean, ...)."""
    return task.baseline(torch.cat([y for _, y in data.test_batches(_BATCH)]))


def in_channels_last(model: nn.Module, sample: torch.Tensor) -> nn.Module:
    """A copy whose convolutions read images as CPUs like them, up to three times as fast; the model where that fails.

    Args:
        sample: examples as the model gets them; their values do not matter. A model that looks at its activations'
            strides, as ``view`` does, may fail.
    """
    if sample.dim() != 4 or not sample.is_floating_point() or sample.device.type != "cpu":
        return model
    x = torch.rand(sample.shape, generator=torch.Generator().manual_seed(0))
    copied = copy.deepcopy(model).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        expected = copy.deepcopy(model).eval()(x)
        try:
            agrees = torch.allclose(copied(x), expected, rtol=_TOLERANCE, atol=_TOLERANCE)
        except Exception:  # whatever the model does with strides
            return model
    return copied if agrees else model
