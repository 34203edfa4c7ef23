"""Messages of single clients, made as the run's own clients make theirs, and read as gradients.

A simulated client of the run takes one local step on a few of its examples from a global model of the run, with the
run's own trainer (which clips and noises at example level) and its mechanism's client half (which clips and noises at
client level). Coins are the attack's own: the run's noise is never drawn twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import nn

from fedpriv.attacks.reconstruction import Clip, GradientNeeds, GradientObservation, find_layers
from fedpriv.data import ClientIndex
from fedpriv.errors import ConfigError, FedprivError
from fedpriv.experiment.assembly import Experiment
from fedpriv.experiment.client_side import local_optimizer
from fedpriv.experiment.nodes import make_node
from fedpriv.experiment.pixels import pixel_range
from fedpriv.federation import Node, TrainTask
from fedpriv.privacy import Mechanism
from fedpriv.privacy.clipping import ClippingGrid
from fedpriv.privacy.mechanisms import BothUnits, CentralAdaptive, LocalGaussian, LocalLaplace
from fedpriv.privacy.mechanisms.central_sum import CentralSum
from fedpriv.streams import Streams
from fedpriv.training import Classification


@dataclass(frozen=True, kw_only=True, eq=False)
class Victim:
    """A client and its batch: the truth.

    Attributes:
        rows: of the training examples (batch_size,), int64.
    """

    client: int
    rows: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Victims:
    """Clients whose messages are attacked.

    Args:
        experiment: the run's.
        needs: the attack's.
        parameters: of the model that the clients start from (d,), float64.
        model: with them, and with all else that the run's model has.
        state: what the mechanism keeps between rounds, as of that model; None: what it begins with.
        noise_multipliers: the run's.
        streams: coins of ``victims`` and ``victim seeds``.
    """

    experiment: Experiment
    needs: GradientNeeds
    parameters: torch.Tensor
    model: nn.Module
    state: dict[str, torch.Tensor] | None
    noise_multipliers: np.ndarray
    streams: Streams

    def choose(self) -> list[Victim]:
        """As many as are asked for: clients in random order, again from the first where there are too few."""
        data, size = self.experiment.data, self.needs.batch_size
        able = able_clients(self.experiment, size)
        rng = self.streams.rng("victims")
        order = rng.permutation(able)
        clients = [int(order[i % len(order)]) for i in range(self.needs.messages)]
        return [Victim(client=c, rows=rng.permutation(data.clients[c])[:size].astype(np.int64)) for c in clients]

    def observed(self, victim: Victim, number: int) -> GradientObservation:
        """What a server reads of the victim's message.

        Args:
            number: of the message, from 0.
        """
        message, factor, client_clip = self._message(victim, number)
        step = step_per_gradient(self.experiment)
        gradient = message / (factor * step)
        layout, shape = self.experiment.layout(self.model), self.experiment.data.input_shape
        first, last = find_layers(self.model, shape)
        ends, privacy = pixel_range(self.experiment.data), self.experiment.config.privacy
        example_level = privacy.mechanism in ("example", "both_units")
        parts = torch.split(gradient, [int(np.prod(s)) for s in layout.shapes])
        named = zip(layout.names, parts, layout.shapes, strict=True)
        return GradientObservation(
            gradient={name: part.reshape(own) for name, part, own in named},
            model=self.model,
            batch_size=self.needs.batch_size,
            input_shape=shape,
            darkest=None if ends is None else ends[0],
            brightest=None if ends is None else ends[1],
            example_clip=Clip(norm=float(privacy.max_grad_norm or 0), order=2) if example_level else None,
            client_clip=None if client_clip is None else replace(client_clip, norm=client_clip.norm / abs(step)),
            input_layer=first,
            output_layer=last if isinstance(self.experiment.task, Classification) else None,
        )

    def _message(self, victim: Victim, number: int) -> tuple[torch.Tensor, float, Clip | None]:
        """What the client sends (d,), the public factor of its update in it, and what bounds the update."""
        node, mechanism = self._node
        asked = np.array([victim.client])
        state = mechanism.initial_state() if self.state is None else self.state
        told = mechanism.told(round_number=number + 1, attempt=0, cohort=asked, state=state)
        assignment = np.full(len(self.experiment.data.train), -1, dtype=np.int64)
        assignment[victim.rows] = victim.client
        clients = ClientIndex.of(assignment, self.experiment.data.num_clients)
        node = replace(node, data=replace(node.data, clients=clients, holdout=None))
        layout = node.layout
        task = TrainTask(
            round=number + 1,
            attempt=0,
            parameters=layout.unflatten(self.parameters),
            broadcast={},
            told=told,
            chunk_ids=(0,),
            chunks=((victim.client,),),
            noise_multipliers=mechanism.local_noise_multipliers(asked),
            states={},
            each=True,
        )
        reply = node.train(task)
        if reply.failures:
            raise FedprivError(f"The attacked client failed: {next(iter(reply.failures.values()))}")
        factor, clip = _reading(mechanism, told)
        return reply.values[0, : layout.size].double(), factor, clip

    @cached_property
    def _node(self) -> tuple[Node, Mechanism]:
        """A node whose clients take one step on all they have and count once, with coins of the attack's own."""
        experiment = self.experiment
        config = experiment.config
        seed = int(self.streams.rng("victim seeds").integers(2**62))
        own = replace(
            config,
            seed=seed,
            seeds=replace(config.seeds, data=None, sampling=None, noise=None),
            training=replace(config.training, batch_size=self.needs.batch_size, local_epochs=1),
            audit={},
            attack={},
        )
        simulated = Experiment(config=own, data=experiment.data)
        streams = simulated.streams(None)
        mechanism = experiment.privacy.mechanism(self.noise_multipliers, streams, None)
        node = make_node(simulated, mechanism, streams)
        return replace(node, weights=np.ones(experiment.data.num_clients), dropout=0.0), mechanism


def able_clients(experiment: Experiment, batch_size: int) -> np.ndarray:
    """Clients of the population with at least so many examples (int64)."""
    population = experiment.data.population_ids
    able: np.ndarray = population[experiment.data.client_sizes[population] >= batch_size]
    return able


def step_per_gradient(experiment: Experiment) -> float:
    """What the local optimizer's first step multiplies a gradient by.

    Raises:
        ConfigError: its first step is no multiple of the gradient.
    """
    make, rng = local_optimizer(experiment.config), torch.Generator().manual_seed(0)
    start = torch.randn(16, generator=rng, dtype=torch.float64)
    steps = []
    for size in (1.0, 7.0):
        parameter = nn.Parameter(start.clone())
        gradient = size * torch.randn(16, generator=rng, dtype=torch.float64)
        parameter.grad = gradient.clone()
        make([parameter]).step()
        steps.append((parameter.detach() - start) / gradient)
    ratios = torch.cat(steps)
    if not torch.allclose(ratios, ratios[0].expand_as(ratios), rtol=1e-6, atol=0) or float(ratios[0]) == 0:
        raise ConfigError(
            f"The first step of training.optimizer={experiment.config.training.optimizer['_target_']} is no multiple "
            "of the gradient, so that a message does not hold one: attack a run with torch.optim.SGD, without weight "
            "decay."
        )
    return float(ratios[0])


def _reading(mechanism: Mechanism, told: Mapping[str, torch.Tensor]) -> tuple[float, Clip | None]:
    """The public factor between an update and its encoding, for a client of weight 1, and the update's bound."""
    if isinstance(mechanism, BothUnits):
        return _reading(mechanism.client, told)
    if isinstance(mechanism, CentralSum):
        return 1 / mechanism.grid.step, Clip(norm=mechanism.grid.clipping_norm, order=2)
    if isinstance(mechanism, CentralAdaptive):
        grid = ClippingGrid(clipping_norm=float(told["clipping_norm"]), summands=mechanism.summands)
        return 1 / grid.step, Clip(norm=grid.clipping_norm, order=2)
    if isinstance(mechanism, LocalGaussian | LocalLaplace):
        return 1.0, Clip(norm=mechanism.clipping_norm, order=1 if isinstance(mechanism, LocalLaplace) else 2)
    return 1.0, None
