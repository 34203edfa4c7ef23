"""Example-level DP-SGD by Opacus alone, in the bare loop's two processes; its hooks are built once a process."""

import math
import warnings
from collections.abc import Sequence

import torch
from opacus.grad_sample import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import nn

from benchmarks.answer import answer
from benchmarks.loop import Train, time_rounds
from benchmarks.workloads import Workload

warnings.filterwarnings("ignore", message="Full backward hook is firing")


def make_train(model: nn.Module, workload: Workload) -> Train:
    """One epoch of Poisson batches; a `DPOptimizer` for each client."""
    private = GradSampleModule(model)

    def train(x: torch.Tensor, y: torch.Tensor) -> None:
        rate = min(1.0, workload.batch_size / len(y))
        optimizer = DPOptimizer(
            torch.optim.SGD(private.parameters(), lr=workload.lr),
            noise_multiplier=workload.noise_multiplier,
            max_grad_norm=workload.clipping_norm,
            expected_batch_size=rate * len(y),  # type: ignore[arg-type]  # Opacus only divides by it
        )
        for _ in range(math.ceil(len(y) / workload.batch_size)):
            batch = (torch.rand(len(y)) < rate).nonzero().flatten()
            if len(batch):  # empty ones are rare here
                optimizer.zero_grad()
                nn.functional.cross_entropy(private(x[batch]), y[batch]).backward()
                optimizer.step()

    return train


def main(workload: Workload, rounds: int, options: Sequence[str]) -> list[float]:
    return time_rounds(workload, rounds, make_train=make_train, memory_format=torch.contiguous_format)


if __name__ == "__main__":
    answer(main)
