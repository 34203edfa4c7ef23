"""Local training of an experiment on scratch: as its nodes would, with coins that are thrown away, for a stopwatch."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from fedpriv.config import Config
from fedpriv.experiment.assembly import Experiment
from fedpriv.experiment.nodes import make_node
from fedpriv.federation import FAILED, Node, TrainTask
from fedpriv.federation.algorithm import all_failed
from fedpriv.streams import Streams
from fedpriv.training import Wishes

AS_IT_IS = Wishes(engine=None, chunk_size=None, stack_size=None, convolutions=None, memory_format=None)
"""Nothing beside what the experiment says itself."""


def overrides(wishes: Wishes) -> dict[str, str | int]:
    """Key of the config -> value, for what is said."""
    said = {name: value for name, value in vars(wishes).items() if value is not None}
    return {f"training.{name}" if name == "engine" else f"tuning.{name}": value for name, value in said.items()}


def _within(config: Config, wishes: Wishes) -> Config:
    """``config`` with this said."""
    said = {name: value for name, value in vars(wishes).items() if value is not None}
    engine = said.pop("engine", config.training.engine)
    return replace(config, training=replace(config.training, engine=engine), tuning=replace(config.tuning, **said))


class Scratch:
    """Trains some clients of an experiment from its initial weights; what they come back with is dropped.

    None of the run's streams is used: neither would its noise be known from here, nor used twice.

    Args:
        key: of all coins; the same for every choice, so that all have the same work.
    """

    def __init__(self, experiment: Experiment, *, key: bytes) -> None:
        self._experiment = experiment
        self._streams = Streams(keys=dict.fromkeys(experiment.streams(None).keys, key))
        population = experiment.data.population_ids
        most = max(experiment.tuning.chunk_size, math.ceil(experiment.sampler(self._streams).law.cohort))
        self._clients = self._streams.rng("cohort").permutation(population)[:most]
        self._failing: set[int] | None = None

    @property
    def num_clients(self) -> int:
        """Clients of one measurement."""
        return len(self._clients)

    def experiment(self, wishes: Wishes) -> Experiment:
        """The experiment with this tuning, over the same data."""
        return Experiment(config=_within(self._experiment.config, wishes), data=self._experiment.data)

    def shorten(self, seconds: float) -> None:
        """Leave so many clients that the experiment as it is takes about so long, and at least one chunk of them."""
        everybody, chunk = self._clients, self._experiment.tuning.chunk_size
        self._clients = self._typical(everybody, chunk)
        measure = self.prepare(AS_IT_IS)
        if measure is not None:
            times = min(seconds / measure(), len(everybody) / chunk)
            self._clients = self._typical(everybody, chunk * 2 ** int(math.log2(max(1.0, times))))
        self._failing = None

    def _typical(self, clients: np.ndarray, count: int) -> np.ndarray:
        """So many, or all, whose sizes are spread as everybody's."""
        count = min(count, len(clients))
        by_size = clients[np.argsort(self._experiment.data.client_sizes[clients], kind="stable")]
        middles = (np.arange(count) + 0.5) * len(clients) / count
        return self._streams.rng("cohort", count).permutation(by_size[middles.astype(int)])

    def prepare(self, wishes: Wishes) -> Callable[[], float] | None:
        """A function that trains the clients once and returns the seconds that it took; None where some fail for it.

        Raises:
            FedprivError: every client fails.
        """
        experiment = self.experiment(wishes)
        privacy = experiment.config.privacy
        # how large the noise is takes no time: nothing is calibrated
        noise = 0.0 if privacy.epsilon == math.inf else 1.0
        multipliers = np.full(experiment.privacy.num_multipliers, noise)
        mechanism = experiment.privacy.mechanism(multipliers, self._streams, None)
        node = make_node(experiment, mechanism, self._streams)
        start = node.layout.from_module(node.model)
        chunks = np.array_split(self._clients, math.ceil(len(self._clients) / experiment.tuning.chunk_size))
        task = TrainTask(
            round=1,
            attempt=0,
            parameters=node.layout.unflatten(start),
            broadcast=experiment.server_rule(node.layout).broadcast(),
            told=mechanism.told(round_number=1, attempt=0, cohort=self._clients, state=mechanism.initial_state()),
            chunk_ids=tuple(range(len(chunks))),
            chunks=tuple(tuple(chunk.tolist()) for chunk in chunks),
            noise_multipliers=mechanism.local_noise_multipliers(self._clients),
            states={},
            each=False,
        )
        return partial(_seconds, node, task) if self._all_train(node, task) else None

    def _all_train(self, node: Node, task: TrainTask) -> bool:
        """A first time, that is slower than others; whether none fails but who fails anyway."""
        reply = node.train(task)
        if np.all(reply.status == FAILED):
            raise all_failed(1, reply.failures)
        if self._failing is None:
            self._failing = set(reply.failures)
        return set(reply.failures) == self._failing


def _seconds(node: Node, task: TrainTask) -> float:
    began = time.perf_counter()
    node.train(task)
    return time.perf_counter() - began
