"""What attacks on membership come to: refused in time, given their observation, then held against the truth."""

from typing import Any

import numpy as np

from fedpriv.attacks import FederatedObservation, MembershipAttack, ModelObservation, ShadowObservation
from fedpriv.attacks.scoring import score
from fedpriv.attacks.scoring.parts import auc_by_part
from fedpriv.experiment.assembly import Experiment
from fedpriv.experiment.attacking.challenge import Challenge
from fedpriv.experiment.attacking.parts import by_decile, by_group
from fedpriv.experiment.attacking.requirements import (
    require_clients_held_out,
    require_messages,
    require_non_members,
)
from fedpriv.experiment.attacking.scene import Scene


def check_membership(name: str, attack: MembershipAttack, experiment: Experiment) -> None:
    """Raise ConfigError for a run that gives the attack no observation, or nobody to tell apart."""
    if attack.needs.watches:
        instead = f"Use attack.{name}.sees=global_models."
        require_messages(name, attack.needs.sees, experiment, instead=instead)
    if attack.needs.level == "client":
        require_clients_held_out(name, experiment)
    else:
        require_non_members(name, experiment)


def membership(name: str, attack: MembershipAttack, scene: Scene) -> tuple[dict[str, Any], dict[str, Any]]:
    """What ``run.json`` is to say, and the curve."""
    needs = attack.needs
    challenge = scene.clients if needs.level == "client" else scene.examples
    if needs.watches:
        if needs.candidates is not None:
            challenge = challenge.at_most(needs.candidates, scene.streams.rng("candidates", 1))
        seen: Any = _watched(name, attack, challenge, scene)
    elif needs.shadows:
        seen = _with_shadows(needs.shadows, scene)
    else:
        seen = ModelObservation(losses=scene.final_losses)
    scores = attack.scores(seen)
    told = score(scores, challenge.members, confidence=scene.confidence)
    found = {
        **told.to_json(),
        **({} if needs.level == "client" else _by_part(scores, challenge, scene)),
        "level": needs.level,
        "sees": needs.sees,
        "shadows": needs.shadows,
        "non_members_from": challenge.others or "held_out_clients",
    }
    return found, {"roc": told.curve_to_json()}


def _with_shadows(count: int, scene: Scene) -> ShadowObservation:
    shadows, population = scene.shadow_models, scene.population
    shadows.train(scene.shadows, workers=scene.workers, tell=scene.tell)
    return ShadowObservation(
        losses=scene.final_losses,
        shadow_losses=shadows.losses(scene.candidates, count),
        shadow_members=np.stack([shadows.members(shadow) for shadow in range(count)]),
        population_losses=None if population is None else population.losses_of(scene.final_state),
        shadow_population_losses=None if population is None else shadows.losses(population, count),
    )


def _watched(name: str, attack: MembershipAttack, challenge: Challenge, scene: Scene) -> FederatedObservation:
    layout = scene.experiment.layout(scene.experiment.new_model())
    return FederatedObservation(
        rounds=scene.rounds(name, sees=attack.needs.sees),
        final=layout.flatten(scene.final_state),
        candidates=scene.of(challenge),
        holders=None if attack.needs.level == "client" else challenge.holders,
    )


def _by_part(scores: np.ndarray, challenge: Challenge, scene: Scene) -> dict[str, Any]:
    """Whom it finds most: by sensitive group and by decile of clients, where there are any."""
    data = scene.experiment.data
    found: dict[str, Any] = {
        attribute: auc_by_part(scores, challenge.members, parts, confidence=scene.confidence)
        for attribute, parts in by_group(challenge, data).items()
    }
    told = {"by_group": found} if found else {}
    if parts := by_decile(challenge, data):
        told["by_decile"] = auc_by_part(scores, challenge.members, parts, confidence=scene.confidence)
    return told
