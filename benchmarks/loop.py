"""Federated averaging without a framework: two processes with one thread each, a pipe to each, and a mean."""

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import numpy as np
import torch
from torch import nn

from benchmarks.workloads import Clients, Workload

PROCESSES = 2

Train = Callable[[torch.Tensor, torch.Tensor], None]
"""Trains the model that it was made with on one client's x and y."""
MakeTrain = Callable[[nn.Module, Workload], Train]


def time_rounds(
    workload: Workload, rounds: int, *, make_train: MakeTrain, memory_format: torch.memory_format
) -> list[float]:
    """Wall seconds of each round; processes, data and models are there before the first one."""
    torch.set_num_threads(1)
    clients = workload.data.clients()
    model = workload.model()
    parameters = [p.detach().numpy().copy() for p in model.parameters()]
    sizes = np.array([len(y) for _, y in clients])
    rng = np.random.default_rng(1)
    context = multiprocessing.get_context("fork")  # the data is shared, not copied
    pipes = []
    for _ in range(PROCESSES):
        here, there = context.Pipe()
        arguments = (there, workload, clients, make_train, memory_format)
        context.Process(target=_serve, args=arguments, daemon=True).start()
        pipes.append(here)
    for pipe in pipes:
        pipe.recv()  # its model is built
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        cohort = rng.choice(len(clients), size=workload.cohort, replace=False)
        for pipe, share in zip(pipes, _shares(cohort, sizes), strict=True):
            pipe.send((parameters, share))
        sums = [pipe.recv() for pipe in pipes]
        for p, *updates in zip(parameters, *sums, strict=True):
            p += np.sum(updates, axis=0) / workload.cohort
        seconds.append(time.perf_counter() - began)
    return seconds


def _shares(cohort: np.ndarray, sizes: np.ndarray) -> list[list[int]]:
    """As many examples for each process as can be: the next largest client goes to the least loaded."""
    shares: list[list[int]] = [[] for _ in range(PROCESSES)]
    loads = [0] * PROCESSES
    for client in cohort[np.argsort(-sizes[cohort], kind="stable")].tolist():
        least = loads.index(min(loads))
        shares[least].append(client)
        loads[least] += int(sizes[client])
    return shares


def _serve(
    pipe: Connection, workload: Workload, clients: Clients, make_train: MakeTrain, memory_format: torch.memory_format
) -> None:
    torch.set_num_threads(1)
    model = workload.model().to(memory_format=memory_format)  # type: ignore[call-overload]  # torch forgot it
    parameters = list(model.parameters())
    train = make_train(model, workload)
    pipe.send(None)
    while True:
        start, mine = pipe.recv()
        start = [torch.from_numpy(array) for array in start]
        sums = [torch.zeros_like(tensor) for tensor in start]
        for client in mine:
            x, y = clients[client]
            with torch.no_grad():
                for p, value in zip(parameters, start, strict=True):
                    p.copy_(value)
            train(x.contiguous(memory_format=memory_format), y)
            with torch.no_grad():
                for total, p, value in zip(sums, parameters, start, strict=True):
                    total += p - value
        pipe.send([total.numpy() for total in sums])
