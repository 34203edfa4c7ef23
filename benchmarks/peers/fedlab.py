"""FedLab, standalone: one process trains a cohort's clients in turn. No privacy of its own; Opacus inside for W2."""

import sys
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any
from unittest.mock import MagicMock

import torch

sys.modules["torchvision"] = MagicMock()  # imported for FedLab's own data sets, which nothing here loads
from fedlab.contrib.algorithm.basic_client import SGDSerialClientTrainer  # noqa: E402
from fedlab.contrib.algorithm.basic_server import SyncServerHandler  # noqa: E402
from fedlab.core.standalone import StandalonePipeline  # noqa: E402

from benchmarks.answer import answer  # noqa: E402
from benchmarks.workloads import Clients, Workload  # noqa: E402

THREADS = {"W1": 2}  # smaller models are faster with one


class Loaders:
    """What FedLab asks for batches; slices of tensors, since a `DataLoader` would only be slower."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def get_dataloader(self, client: int, batch_size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        x, y = self._clients[client]
        return ((x[batch], y[batch]) for batch in torch.randperm(len(y)).split(batch_size))


class OpacusTrainer(SGDSerialClientTrainer):
    """FedLab's serial trainer with Opacus' local steps."""

    def start(self, clients: Clients, workload: Workload) -> None:
        from benchmarks.opacus_alone import make_train

        self._clients, self._private = clients, make_train(self._model, workload)

    def local_process(self, payload: Any, id_list: Sequence[int]) -> None:
        for client in id_list:
            self.set_model(payload[0])
            self._private(*self._clients[client])
            self.cache.append([self.model_parameters])


class Timed(StandalonePipeline):
    """Notes when each round was over; its ``evaluate`` is called then."""

    def start(self) -> None:
        self.times = [time.perf_counter()]

    def evaluate(self) -> None:
        self.times.append(time.perf_counter())


def main(workload: Workload, rounds: int, options: Sequence[str]) -> list[float]:
    torch.set_num_threads(THREADS.get(workload.name, 1))
    clients, model = workload.data.clients(), workload.model()
    kind = OpacusTrainer if workload.protects == "example" else SGDSerialClientTrainer
    trainer = kind(model, len(clients), cuda=False)
    trainer.setup_dataset(Loaders(clients))
    trainer.setup_optim(1, workload.batch_size, workload.lr)
    if isinstance(trainer, OpacusTrainer):
        trainer.start(clients, workload)
    handler = SyncServerHandler(workload.model(), rounds, (workload.cohort + 0.5) / len(clients), cuda=False)
    pipeline = Timed(handler, trainer)
    pipeline.start()
    pipeline.main()
    return [after - before for before, after in pairwise(pipeline.times)]


if __name__ == "__main__":
    answer(main)
