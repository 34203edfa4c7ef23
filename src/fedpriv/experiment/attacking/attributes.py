"""Attribute inference on a run: messages of single records, and the truth about them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fedpriv.attacks.inference import AttributeAttack, AttributeNeeds, AttributeObservation
from fedpriv.attacks.scoring.properties import beside_control, with_shuffled
from fedpriv.errors import ConfigError
from fedpriv.experiment.assembly import Experiment
from fedpriv.experiment.attacking.requirements import require_group
from fedpriv.experiment.attacking.scene import Scene
from fedpriv.experiment.attacking.simulated import Simulated, SimulatedClients, adversarys_rows

_FEWEST = 10  # shadows of either kind


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """A sensitive attribute of the examples of an experiment.

    Rows are of all examples, training examples first, then the server's.
    """

    experiment: Experiment
    needs: AttributeNeeds

    @cached_property
    def has(self) -> np.ndarray:
        """Whether an example is of the group (rows,)."""
        data = self.experiment.data
        of: np.ndarray = np.equal(
            data.groups[self.needs.attribute], data.names_of(self.needs.attribute).index(self.needs.group)
        )
        return of

    @cached_property
    def pool(self) -> np.ndarray:
        """Rows that the adversary has."""
        return adversarys_rows(self.experiment.data)

    def asked(self, rng: np.random.Generator) -> list[Simulated]:
        """Records of the population's clients at random, each with the client that holds it."""
        index, clients = self.experiment.data.clients, self.experiment.data.population_ids
        rows = np.concatenate([index[client] for client in clients.tolist()])
        holders = np.repeat(clients, [len(index[client]) for client in clients.tolist()])
        drawn = rng.permutation(len(rows))[: self.needs.records]
        return [Simulated(client=int(holders[i]), rows=rows[i : i + 1]) for i in drawn.tolist()]

    def shadows(self, rng: np.random.Generator) -> tuple[list[Simulated], np.ndarray]:
        """Records of the pool, and whether they are of the group; each with a client of the population at random."""
        half = self.needs.shadows // 2
        kinds = self.has[self.pool]
        rows = np.concatenate([rng.permutation(self.pool[kinds])[:half], rng.permutation(self.pool[~kinds])[:half]])
        clients = rng.choice(self.experiment.data.population_ids, size=len(rows))
        made = [Simulated(client=int(client), rows=rows[i : i + 1]) for i, client in enumerate(clients)]
        return made, self.has[rows]


def check_attribute(name: str, needs: AttributeNeeds, experiment: Experiment) -> None:
    """Raise ConfigError where the data do not know the attribute, or the adversary has nothing to learn from."""
    if experiment.config.strategy.algorithm == "scaffold":
        raise ConfigError(
            f"attack={name} simulates clients that keep nothing between rounds, but those of strategy=scaffold do. Use "
            "another strategy, or leave the attack out."
        )
    require_group(name, needs.attribute, needs.group, experiment, instead="leave the attack out")
    kinds = (asked := Attribute(experiment=experiment, needs=needs)).has[asked.pool]
    if min(kinds.sum(), (~kinds).sum()) < _FEWEST:
        raise ConfigError(
            f"attack={name}: of the adversary's {len(kinds)} examples (the server's test examples and those of "
            f"held-out clients) {int(kinds.sum())} are of the group, but it learns from {_FEWEST} of the group and "
            f"{_FEWEST} of others at least. Use another group, or hold clients out: split.held_out_clients=0.2."
        )


def infer_attribute(attack: AttributeAttack, scene: Scene) -> dict[str, Any]:
    """What ``run.json`` is to say."""
    needs = attack.needs
    asked = Attribute(experiment=scene.experiment, needs=needs)
    rng = scene.streams.rng("attributes")
    records, (shadows, known) = asked.asked(rng), asked.shadows(rng)
    model = scene.model(is_final=needs.model == "final")
    simulated = SimulatedClients(
        experiment=scene.experiment, noise_multipliers=scene.noise_multipliers, streams=scene.streams
    )
    parameters = scene.experiment.layout(model).from_module(model)
    sent = simulated.updates([*records, *shadows], parameters=parameters, round_number=1)
    seen = AttributeObservation(
        messages=sent[: len(records)], shadow_messages=sent[len(records) :], shadow_has=with_shuffled(known, rng)
    )
    truth = asked.has[np.concatenate([record.rows for record in records])]
    return {
        **beside_control(attack.log_odds(seen), truth, of="records", confidence=scene.confidence),
        "attribute": f"{needs.attribute}: {needs.group}",
        "model": needs.model,
        "level": "example",
        "sees": "updates",
        "shadows": len(shadows),
    }
