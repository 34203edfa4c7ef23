"""Updates that clients with data of the adversary's own would have sent in a round of the run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from fedpriv.data import ClientIndex, Examples, FederatedData
from fedpriv.errors import FedprivError
from fedpriv.experiment.assembly import Experiment
from fedpriv.experiment.nodes import make_node
from fedpriv.federation import Node, TrainTask
from fedpriv.privacy import Mechanism
from fedpriv.streams import Streams


@dataclass(frozen=True, kw_only=True, eq=False)
class Simulated:
    """A client that the adversary plays.

    Attributes:
        client: of the population, whose id, weight and noise multiplier it has.
        rows: of all examples, training examples first, then the server's.
    """

    client: int
    rows: np.ndarray


def adversarys_rows(data: FederatedData) -> np.ndarray:
    """The server's test examples, and those of clients that are never trained.

    Rows are of all examples, training examples first, then the server's.
    """
    theirs = [data.clients[client] for client in data.held_out_clients.tolist()]
    return np.concatenate([len(data.train) + np.arange(len(data.test)), *theirs])


@dataclass(frozen=True, kw_only=True)
class SimulatedClients:
    """Trained by the run's trainer, clipped and noised by its mechanism's client half, with coins of their own.

    What a mechanism keeps between rounds is as at the beginning: it scales updates, and attacks see directions.

    Args:
        experiment: the run's.
        noise_multipliers: the run's.
        streams: coins of ``simulated clients``.
    """

    experiment: Experiment
    noise_multipliers: np.ndarray
    streams: Streams

    def updates(self, simulated: Sequence[Simulated], *, parameters: torch.Tensor, round_number: int) -> torch.Tensor:
        """What each sends (n, d), as encoded, starting from a global model (d,)."""
        waiting, found = list(range(len(simulated))), dict[int, torch.Tensor]()
        batch = 0
        while waiting:  # a node knows clients by id: no two with the same one are trained together
            now = {simulated[i].client: i for i in reversed(waiting)}
            sent = self._batch([simulated[i] for i in now.values()], parameters, round_number, batch)
            found |= dict(zip(now.values(), sent, strict=True))
            waiting = [i for i in waiting if i not in found]
            batch += 1
        return torch.stack([found[i] for i in range(len(simulated))])

    def _batch(
        self, simulated: Sequence[Simulated], parameters: torch.Tensor, round_number: int, batch: int
    ) -> torch.Tensor:
        plain, mechanism = self._node
        node = replace(plain, data=_holding(self._pool, simulated), dropout=0.0)
        asked = np.array([one.client for one in simulated])
        reply = node.train(
            TrainTask(
                round=round_number,
                attempt=batch,  # coins of its own
                parameters=node.layout.unflatten(parameters),
                broadcast={},
                told=mechanism.told(
                    round_number=round_number, attempt=0, cohort=np.sort(asked), state=mechanism.initial_state()
                ),
                chunk_ids=tuple(range(len(asked))),
                chunks=tuple((client,) for client in asked.tolist()),
                noise_multipliers=mechanism.local_noise_multipliers(asked),
                states={},
                each=True,
            )
        )
        if reply.failures:
            raise FedprivError(f"A simulated client failed: {next(iter(reply.failures.values()))}")
        return reply.values[:, : node.layout.size].float()

    @cached_property
    def _pool(self) -> FederatedData:
        data = self.experiment.data
        both = (np.concatenate([data.train.x, data.test.x]), np.concatenate([data.train.y, data.test.y]))
        return replace(data, train=Examples(x=both[0], y=both[1]), holdout=None, users=None)

    @cached_property
    def _node(self) -> tuple[Node, Mechanism]:
        run = self.experiment.config
        seed = int(self.streams.rng("simulated clients").integers(2**62))
        seeds = replace(run.seeds, data=None, sampling=None, model=None, noise=None)
        own = Experiment(config=replace(run, seed=seed, seeds=seeds, audit={}, attack={}), data=self.experiment.data)
        streams = own.streams(None)
        mechanism = self.experiment.privacy.mechanism(self.noise_multipliers, streams, None)
        return make_node(own, mechanism, streams), mechanism


def _holding(pool: FederatedData, simulated: Sequence[Simulated]) -> FederatedData:
    """Each with its rows, which others may have as well; everybody else has nothing."""
    rows: list[np.ndarray] = [np.zeros(0, dtype=np.int64)] * pool.num_clients
    for one in simulated:
        rows[one.client] = one.rows
    offsets = np.concatenate([[0], np.cumsum([len(own) for own in rows])]).astype(np.int64)
    return replace(pool, clients=ClientIndex(offsets=offsets, indices=np.concatenate(rows)))
