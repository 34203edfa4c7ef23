"""R0, what everything is compared with: plain SGD on plain tensors. No framework, no privacy, no records.

`channels_last` as an option keeps images and convolutions in that memory format.
"""

from collections.abc import Sequence

import torch
from torch import nn

from benchmarks.answer import answer
from benchmarks.loop import Train, time_rounds
from benchmarks.workloads import Workload


def make_train(model: nn.Module, workload: Workload) -> Train:
    """One epoch of shuffled batches."""
    optimizer = torch.optim.SGD(model.parameters(), lr=workload.lr)

    def train(x: torch.Tensor, y: torch.Tensor) -> None:
        for batch in torch.randperm(len(y)).split(workload.batch_size):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()

    return train


def main(workload: Workload, rounds: int, options: Sequence[str]) -> list[float]:
    memory_format = torch.channels_last if "channels_last" in options else torch.contiguous_format
    return time_rounds(workload, rounds, make_train=make_train, memory_format=memory_format)


if __name__ == "__main__":
    answer(main)
