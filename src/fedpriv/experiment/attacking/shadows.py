"""Shadow models: the same experiment on other draws of its members, as small federated trainings.

Shadow 2j trains on a random half of each client's pool, shadow 2j + 1 on the other half: every candidate is in half of
them, and more shadows are those that there were and some new ones. Each is a file of weights, written when it is done.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from safetensors.torch import load_file
from torch import nn

from fedpriv.data import ClientIndex, FederatedData
from fedpriv.errors import FedprivError
from fedpriv.experiment.assembly import Experiment
from fedpriv.experiment.attacking.candidates import Candidates
from fedpriv.experiment.attacking.challenge import Challenge
from fedpriv.experiment.nodes import make_app
from fedpriv.federation import (
    Algorithm,
    FederatedAveraging,
    RoundOutcome,
    ServerOptimizer,
    ServerState,
    make_server_app,
)
from fedpriv.records.atomic import writing
from fedpriv.records.checkpoint import save_model
from fedpriv.runtimes.default_workers import as_many_as_fit
from fedpriv.runtimes.inprocess import run_inprocess
from fedpriv.streams import Streams

_WORTH_IT = 8.0
"""Seconds of training left, from which on processes beside this one are worth their start."""

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Shadows:
    """The shadow models of one run.

    Args:
        experiment: the run's.
        challenge: example level; its candidates are the pool.
        rounds: that the run trained.
        noise_multipliers: the run's.
        streams: coins of ``shadow members`` and ``shadow seeds``.
        folder: where their weights lie.
    """

    experiment: Experiment
    challenge: Challenge
    rounds: int
    noise_multipliers: np.ndarray
    streams: Streams
    folder: Path

    def members(self, shadow: int) -> np.ndarray:
        """Which candidates this shadow trains on (n,): half of each client's."""
        pair, side = divmod(shadow, 2)
        rng, holders = self.streams.rng("shadow members", pair), self.challenge.holders
        mixed = rng.permutation(len(holders))
        by_holder = mixed[np.argsort(holders[mixed], kind="stable")]
        _, first = np.unique(holders[by_holder], return_index=True)
        rank = np.arange(len(holders)) - np.repeat(first, np.diff(np.append(first, len(holders))))
        inside = np.zeros(len(holders), dtype=np.bool_)
        # the odd one of a client's goes to either side by a coin, so that no client's first half is always larger
        larger = rng.integers(2, size=len(first))
        inside[by_holder] = (rank + np.repeat(larger, np.diff(np.append(first, len(holders))))) % 2 == 0
        return inside if side == 0 else ~inside

    def train(self, count: int, *, workers: int | None, tell: Tell) -> None:
        """Make sure that there are so many.

        Args:
            workers: processes; None: as many as pay.
        """
        missing = [shadow for shadow in range(count) if not self._file(shadow).exists()]
        if not missing:
            return
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        tell(f"{len(missing)} of {count} shadow models to be trained, {self.rounds} rounds each")
        if workers is None:
            began = time.monotonic()
            self._train_one(missing.pop(0))
            seconds = (time.monotonic() - began) * len(missing)
            slots = as_many_as_fit(most=len(missing), slots=None, threads=self.experiment.config.threads)
            workers = slots if seconds > _WORTH_IT and self.experiment.device.type == "cpu" else 1
        self._train_all(missing, workers, tell)

    def losses(self, candidates: Candidates, count: int) -> np.ndarray:
        """Of the first so many shadows (count, n)."""
        return np.stack([candidates.losses_of(load_file(self._file(shadow))) for shadow in range(count)])

    def _train_all(self, missing: Sequence[int], workers: int, tell: Tell) -> None:
        if workers == 1:
            for done, shadow in enumerate(missing, start=1):
                self._train_one(shadow)
                tell(f"shadow model {done} of {len(missing)}")
            return
        from joblib import Parallel, delayed

        jobs = (delayed(_train_quietly)(self, shadow) for shadow in missing)
        results = Parallel(n_jobs=workers, return_as="generator_unordered", batch_size=1)(jobs)
        for done, _ in enumerate(results, start=1):
            tell(f"shadow model {done} of {len(missing)}")

    def _train_one(self, shadow: int) -> None:
        experiment = self._experiment(shadow)
        model = train_again_on(
            experiment,
            experiment.streams(None),
            rounds=self.rounds,
            noise_multipliers=self.noise_multipliers,
        )
        save_model(self._file(shadow), model.state_dict())

    def _experiment(self, shadow: int) -> Experiment:
        """The run's, with other coins throughout, on this shadow's members."""
        assignment = np.full(len(self.challenge.data.train), -1, dtype=np.int64)
        inside = self.members(shadow)
        rows = np.concatenate(self.challenge.groups)
        assignment[rows[inside]] = self.challenge.holders[inside]
        data: FederatedData = replace(
            self.challenge.data,
            clients=ClientIndex.of(assignment, self.challenge.data.num_clients),
            holdout=None,
        )
        seed = int(self.streams.rng("shadow seeds", shadow).integers(2**62))
        run = self.experiment.config
        seeds = replace(run.seeds, data=None, sampling=None, model=None, noise=None)
        config = replace(run, seed=seed, seeds=seeds, workers=1)
        return Experiment(config=config, data=data)

    def _file(self, shadow: int) -> Path:
        return self.folder / f"{shadow:04d}.safetensors"


def _train_quietly(shadows: Shadows, shadow: int) -> None:
    """In a process of its own."""
    import warnings

    import torch

    warnings.filterwarnings("ignore")
    torch.set_num_threads(shadows.experiment.config.threads)
    shadows._train_one(shadow)


def train_again_on(
    experiment: Experiment, streams: Streams, *, rounds: int, noise_multipliers: np.ndarray
) -> nn.Module:
    """The model that so many rounds of an experiment end with; nothing is recorded, and no budget is anybody's.

    Args:
        streams: of all coins; it must not share them with a run.
    """
    retirement = experiment.privacy.retirement(noise_multipliers, streams, paid=(), since=0, attempt=0)
    mechanism = experiment.privacy.mechanism(noise_multipliers, streams, retirement)
    model = experiment.new_model()
    layout = experiment.layout(model)
    state = ServerState(
        round=0,
        attempt=0,
        optimizer=ServerOptimizer(
            layout=layout, start=layout.from_module(model), make_optimizer=experiment.server_optimizer
        ),
        rule=experiment.server_rule(layout),
        mechanism=mechanism.initial_state(),
    )
    algorithm: Algorithm
    if experiment.is_stock:
        algorithm = experiment.stock_algorithm(
            mechanism, streams, model=model, layout=layout, permit=_nothing, observers=()
        )
    else:
        algorithm = FederatedAveraging(
            layout=layout,
            sampler=experiment.privacy.sampler(streams, retirement),
            mechanism=mechanism,
            client_sizes=experiment.data.client_sizes,
            weights=experiment.client_weights,
            chunk_size=experiment.tuning.chunk_size,
            clients_per_node=experiment.config.clients_per_node,
            permit=_nothing,
            observers=(),
            each=False,
        )
    run_inprocess(
        build=partial(make_app, experiment, mechanism, streams),
        server_app=make_server_app(
            algorithm=algorithm, state=state, last_round=rounds, after_round=_trained, finish=_nothing
        ),
        num_nodes=experiment.num_nodes,
        pool_kind=None,
        modules=experiment.own_code,
        started=_nothing,
    )
    layout.load_into(model, layout.flatten(state.optimizer.parameters))
    return model


def _nothing(_: object) -> None:
    return


def _trained(outcome: RoundOutcome) -> None:
    if outcome.failures and not outcome.replied:
        raise FedprivError(f"Every client of a shadow model's round {outcome.round} failed.")
