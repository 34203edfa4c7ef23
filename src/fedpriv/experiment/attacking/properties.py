"""Property inference on a run: shadow clients with and without the property, and the truth about real ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from fedpriv.attacks import SeenRound
from fedpriv.attacks.inference import PropertyAttack, PropertyNeeds, PropertyRound
from fedpriv.attacks.scoring.properties import beside_control, with_shuffled
from fedpriv.data import strata
from fedpriv.errors import ConfigError
from fedpriv.experiment.assembly import Experiment
from fedpriv.experiment.attacking.requirements import require_group
from fedpriv.experiment.attacking.shadows import Tell
from fedpriv.experiment.attacking.simulated import Simulated, SimulatedClients, adversarys_rows
from fedpriv.streams import Streams


@dataclass(frozen=True, kw_only=True)
class Property:
    """A property of the clients of an experiment.

    Rows are of all examples, training examples first, then the server's.
    """

    experiment: Experiment
    needs: PropertyNeeds

    @cached_property
    def is_of_kind(self) -> np.ndarray:
        """Whether an example is of the kind that is counted (rows,)."""
        if self.needs.group is None:
            labelled: np.ndarray = self._strata == self.needs.label
            return labelled
        ((attribute, name),) = self.needs.group.items()
        data = self.experiment.data
        of: np.ndarray = np.equal(data.groups[attribute], data.names_of(attribute).index(name))
        return of

    @cached_property
    def clients(self) -> np.ndarray:
        """Of the population, those with examples (n,)."""
        data = self.experiment.data
        return data.population_ids[data.client_sizes[data.population_ids] > 0]

    @cached_property
    def having(self) -> np.ndarray:
        """The truth about them (n,)."""
        index = self.experiment.data.clients
        return np.array([self.is_of_kind[index[c]].mean() >= self.needs.threshold for c in self.clients.tolist()])

    @cached_property
    def pool(self) -> np.ndarray:
        """Rows that the adversary has."""
        return adversarys_rows(self.experiment.data)

    def shadows(self, rng: np.random.Generator) -> tuple[list[Simulated], np.ndarray]:
        """Shadow clients and whether they have the property: every other one has.

        Each plays a client of the population, and is as large. Its mix of labels is drawn from a Dirichlet distribution
        around that of the pool, as in the usual partition by label skew, but of unknown concentration; so is the share
        of the kind, given that it means the property, or the lack of it.
        """
        kinds, pool = self.is_of_kind[self.pool], self.pool
        _, labels = np.unique(self._strata[pool], return_inverse=True)
        frequencies = np.bincount(labels) / len(labels)
        sizes = self.experiment.data.client_sizes
        having = np.arange(self.needs.shadows) % 2 == 0
        made = []
        for client, has in zip(self._played(rng), having.tolist(), strict=True):
            size = int(sizes[client])
            least = int(np.ceil(self.needs.threshold * size - 1e-9))
            concentration = len(frequencies) * np.exp(rng.uniform(np.log(0.1), np.log(10.0)))
            share = _share(rng, mean=float(kinds.mean()), concentration=concentration, limit=least / size, above=has)
            allowed = (least, size) if has else (0, least - 1)
            count = int(np.clip(round(share * size), *allowed))
            mix = rng.dirichlet(concentration * frequencies) / frequencies
            weights = mix[labels] + 1e-9  # nothing is impossible: a kind may have a few labels only
            parts = [_drawn(rng, pool[side], weights[side], n) for side, n in ((kinds, count), (~kinds, size - count))]
            made.append(Simulated(client=client, rows=np.concatenate(parts)))
        return made, having

    def _played(self, rng: np.random.Generator) -> list[int]:
        """Whom each shadow plays: everybody once with the property and once without, before anybody does again."""
        rounds = -(-self.needs.shadows // (2 * len(self.clients)))
        pairs = np.concatenate([rng.permutation(self.clients) for _ in range(rounds)])
        played: list[int] = np.repeat(pairs, 2)[: self.needs.shadows].tolist()
        return played

    @cached_property
    def _strata(self) -> np.ndarray:
        data = self.experiment.data
        return strata(np.concatenate([data.train.y, data.test.y]), num_classes=data.num_classes).of


def _share(rng: np.random.Generator, *, mean: float, concentration: float, limit: float, above: bool) -> float:
    """Of one kind, in a Dirichlet mix: a draw of the beta distribution, given the side of the limit that it is on."""
    from scipy import stats  # late: a worker has no use for it

    beta = stats.beta(concentration * mean, concentration * (1 - mean))
    if above:
        return float(beta.isf(rng.uniform(0.0, beta.sf(limit))))
    return float(beta.ppf(rng.uniform(0.0, beta.cdf(limit))))


def _drawn(rng: np.random.Generator, rows: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    if not count:
        return rows[:0]
    drawn: np.ndarray = rng.choice(rows, size=count, p=weights / weights.sum())
    return drawn


def check_property(name: str, needs: PropertyNeeds, experiment: Experiment) -> None:
    """Raise ConfigError where the data do not know the property, or there is nobody to tell apart."""
    data, config = experiment.data, experiment.config
    if config.strategy.algorithm == "scaffold":
        raise ConfigError(
            f"attack={name} simulates clients that keep nothing between rounds, but those of strategy=scaffold do. Use "
            "another strategy, or leave the attack out."
        )
    if needs.label is not None and not (data.num_classes is not None and 0 <= needs.label < data.num_classes):
        classes = "which are no classes" if data.num_classes is None else f"0 to {data.num_classes - 1}"
        raise ConfigError(f"attack.{name}.label={needs.label} is none of the data's labels ({classes}).")
    if needs.group is not None:
        ((attribute, group),) = needs.group.items()
        require_group(name, attribute, group, experiment, instead=f"use attack.{name}.label")
    asked = Property(experiment=experiment, needs=needs)
    having = int(asked.having.sum())
    if having in (0, len(asked.having)):
        raise ConfigError(
            f"attack={name}: {having} of {len(asked.having)} clients have the property at attack.{name}.threshold="
            f"{needs.threshold}, so there is nobody to tell apart. Use another threshold."
        )
    of_kind = asked.is_of_kind[asked.pool]
    if not of_kind.any() or of_kind.all():
        raise ConfigError(
            f"attack={name}: the adversary's {len(of_kind)} examples (the server's test examples and those of held-out "
            "clients) are all of one kind, so it cannot learn the difference. Use another property, or hold clients "
            "out: split.held_out_clients=0.2."
        )


def infer_property(
    attack: PropertyAttack,
    *,
    experiment: Experiment,
    rounds: Sequence[SeenRound],
    noise_multipliers: np.ndarray,
    streams: Streams,
    confidence: float,
    tell: Tell,
) -> dict[str, Any]:
    """What ``run.json`` is to say.

    Args:
        rounds: with updates.
        streams: coins of ``properties`` and ``simulated clients``.
    """
    needs = attack.needs
    asked = Property(experiment=experiment, needs=needs)
    shadows, having = asked.shadows(streams.rng("properties", 0))
    rng = streams.rng("properties", 1)
    answers = with_shuffled(having, rng)
    simulated = SimulatedClients(experiment=experiment, noise_multipliers=noise_multipliers, streams=streams)
    odds = dict[int, list[np.ndarray]]()
    for number in range(min(needs.rounds, len(rounds))):
        seen = rounds[number]
        if not seen.updates:
            continue
        sent = simulated.updates(shadows, parameters=seen.parameters, round_number=number + 1)
        came = torch.stack(list(seen.updates.values())).float()
        view = PropertyRound(updates=came, shadow_updates=sent, shadow_has=answers)
        for client, column in zip(seen.updates, attack.log_odds(view).T, strict=True):
            odds.setdefault(client, []).append(column)
        tell(f"round {number + 1}: {needs.shadows} simulated clients, {len(came)} real ones")
    truth_of = dict(zip(asked.clients.tolist(), asked.having.tolist(), strict=True))
    known = [client for client in truth_of if client in odds]
    truth = np.array([truth_of[client] for client in known], dtype=np.bool_)
    guesses = np.array([np.mean(odds[client], axis=0) for client in known]).reshape(len(known), len(answers)).T
    return {
        **beside_control(guesses, truth, of="clients", confidence=confidence),
        "property": _in_words(needs),
        "clients_not_seen": len(truth_of) - len(known),
        "level": "client",
        "sees": "updates",
        "shadows": needs.shadows,
    }


def _in_words(needs: PropertyNeeds) -> str:
    kind = f"label {needs.label}" if needs.group is None else "{}: {}".format(*next(iter(needs.group.items())))
    return f"{kind}, a share of at least {needs.threshold:g}"
