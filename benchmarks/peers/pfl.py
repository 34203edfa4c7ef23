"""pfl-research: two processes under torchrun, its Gaussian mechanism for W1 and W3, Opacus put inside for W2."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam import NNTrainHyperParams
from pfl.metrics import Metrics
from pfl.model.pytorch import PyTorchModel
from pfl.privacy import CentrallyAppliedPrivacyMechanism, GaussianMechanism
from torch import nn

from benchmarks.answer import answer
from benchmarks.workloads import WORKLOADS, Workload

PROCESSES = 2
_TIMES = "BENCHMARK_TIMES"


class Net(nn.Module):
    """A model with the loss that pfl asks it for."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)

    def loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(self(x), y)

    def metrics(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, Any]:
        return {}


class OpacusAveraging(FederatedAveraging):
    """pfl's averaging with Opacus' local steps."""

    def start(self, net: nn.Module, workload: Workload) -> None:
        from benchmarks.opacus_alone import make_train

        self._private = make_train(net, workload)

    def train_one_user(self, initial: Any, model: Any, user_dataset: Any, central_context: Any) -> tuple[Any, Metrics]:
        self._private(*user_dataset.raw_data)
        return model.get_model_difference(initial), Metrics()


class Clock(TrainingProcessCallback):
    """Notes when each round was over."""

    def on_train_begin(self, *, model: Any) -> Metrics:
        self.times = [time.perf_counter()]
        return Metrics()

    def after_central_iteration(self, aggregate_metrics: Any, model: Any, *, central_iteration: int) -> Any:
        self.times.append(time.perf_counter())
        return False, Metrics()


def train(workload: Workload, rounds: int) -> list[float]:
    """One of the two processes; each has all data, and trains half of a cohort."""
    torch.set_num_threads(1)
    np.random.seed(0)  # the processes draw the same cohorts
    clients = workload.data.clients()
    net = Net(workload.model())
    model = PyTorchModel(net, torch.optim.SGD, torch.optim.SGD(net.parameters(), lr=1.0))
    users = FederatedDataset(
        lambda user: Dataset(list(clients[user]), user_id=user),
        get_user_sampler("minimize_reuse", list(range(len(clients)))),
    )
    algorithm: FederatedAveraging = FederatedAveraging()
    postprocessors = []
    if workload.protects == "example":
        algorithm = OpacusAveraging()
        algorithm.start(net.net, workload)
    else:
        gaussian = GaussianMechanism(workload.clipping_norm, workload.noise_multiplier)
        postprocessors.append(CentrallyAppliedPrivacyMechanism(gaussian))
    clock = Clock()
    algorithm.run(
        NNAlgorithmParams(
            central_num_iterations=rounds,
            evaluation_frequency=rounds,  # in the first round only, which is not measured
            train_cohort_size=workload.cohort,
            val_cohort_size=0,
        ),
        SimulatedBackend(training_data=users, val_data=users, postprocessors=postprocessors),
        model,
        NNTrainHyperParams(local_num_epochs=1, local_learning_rate=workload.lr, local_batch_size=workload.batch_size),
        callbacks=[clock],
        send_metrics_to_platform=False,
    )
    return [after - before for before, after in pairwise(clock.times)]


def main(workload: Workload, rounds: int, options: Sequence[str]) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        times = Path(folder) / "times.json"
        launch = ["torch.distributed.run", "--standalone", f"--nproc-per-node={PROCESSES}", "--module"]
        command = [sys.executable, "-m", *launch, "benchmarks.peers.pfl", workload.name, str(rounds)]
        environment = os.environ | {_TIMES: str(times), "OMP_NUM_THREADS": "1", "PFL_PYTORCH_DEVICE": "cpu"}
        ran = subprocess.run(command, env=environment, stdout=sys.stderr)
        if not times.exists():  # else it was torch's process group that aborted, while it ended
            raise RuntimeError(f"pfl ended with exit code {ran.returncode}")
        return list(json.loads(times.read_text()))


if __name__ == "__main__":
    if _TIMES not in os.environ:
        answer(main)
    else:
        seconds = train(WORKLOADS[sys.argv[1]], int(sys.argv[2]))
        if os.environ["RANK"] == "0":
            Path(os.environ[_TIMES]).write_text(json.dumps(seconds))
