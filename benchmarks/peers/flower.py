"""Flower on Ray: its Simulation Runtime with two actors, its FedAvg, its own differential privacy for W1 and W3."""

import os
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping, FedAvg
from flwr.simulation import run_simulation

from benchmarks.answer import answer
from benchmarks.peers.flower_client import client_app
from benchmarks.workloads import ROOT, Random, Workload

ACTORS = {"init_args": {"num_cpus": 2}, "client_resources": {"num_cpus": 1, "num_gpus": 0}}


def main(workload: Workload, rounds: int, options: Sequence[str]) -> list[float]:
    if not isinstance(workload.data, Random):
        raise TypeError("Flower runs the random workloads only.")
    population, times = workload.data.population, []
    os.environ["PYTHONPATH"] = str(ROOT)  # actors import benchmarks, too
    server = ServerApp()

    @server.main()
    def serve(grid: Grid, context: Context) -> None:
        strategy: Any = FedAvg(
            fraction_train=workload.cohort / population,
            min_train_nodes=workload.cohort,
            min_available_nodes=population,
            fraction_evaluate=0.0,
        )
        if workload.protects == "client":
            strategy = DifferentialPrivacyServerSideFixedClipping(
                strategy, workload.noise_multiplier, workload.clipping_norm, workload.cohort
            )

        def note(server_round: int, arrays: ArrayRecord) -> None:
            times.append(time.perf_counter())  # also before the first round

        strategy.start(
            grid, ArrayRecord(workload.model().state_dict()), num_rounds=rounds, evaluate_fn=note, timeout=1e5
        )

    run_simulation(server, client_app(workload.name), num_supernodes=population, backend_config=ACTORS)
    return [after - before for before, after in pairwise(times)]


if __name__ == "__main__":
    answer(main)
