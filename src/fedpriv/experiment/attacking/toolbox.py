"""What ART's attacks are given of a finished run, and what they come to."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from fedpriv.attacks.scoring import score
from fedpriv.attacks.toolbox import ModelFacts, OwnedModel, ToolboxAttack, TrainingKnown, need_art
from fedpriv.data import ClientIndex, FederatedData
from fedpriv.errors import ConfigError
from fedpriv.experiment.assembly import Experiment
from fedpriv.experiment.attacking.challenge import Challenge
from fedpriv.experiment.pixels import pixel_range
from fedpriv.streams import global_coins
from fedpriv.training.tasks import Classification


def check_toolbox(name: str, attack: ToolboxAttack, experiment: Experiment) -> None:
    """Raise ConfigError for a library that is missing, or a run that the attack is not of."""
    need_art(name)
    if not isinstance(experiment.task, Classification):
        raise ConfigError(
            f"attack={name} is of classes, but this is task={type(experiment.task).__name__.lower()}: leave it out."
        )
    if experiment.data.num_tokens is not None:
        raise ConfigError(f"attack={name} is of images and tables, but the examples are tokens: leave it out.")
    try:
        attack.check(
            input_shape=experiment.data.input_shape,
            num_classes=experiment.task.num_classes,
            images=pixel_range(experiment.data) is not None,
        )
    except ConfigError as error:
        raise ConfigError(f"attack={name}: {error}") from error


def model_facts(experiment: Experiment, state: dict[str, torch.Tensor]) -> ModelFacts:
    """The run's model with these weights, as `fedpriv.attacks.toolbox.as_classifier` takes it."""
    model = experiment.new_model()
    model.load_state_dict(state)
    ends = pixel_range(experiment.data)
    return ModelFacts(
        model=model,
        num_classes=experiment.task.output_shape[-1],
        input_shape=experiment.data.input_shape,
        darkest=None if ends is None else ends[0].numpy(),
        brightest=None if ends is None else ends[1].numpy(),
    )


def owned_model(facts: ModelFacts, data: FederatedData, rng: np.random.Generator) -> OwnedModel:
    """The server's test examples, half of them the adversary's."""
    batches = list(data.test_batches(max(1, len(data.test))))
    x, y = batches[0][0].numpy(), batches[0][1].numpy()
    order = rng.permutation(len(y))
    mine, others = order[: len(y) // 2], order[len(y) // 2 :]
    return OwnedModel(facts=facts, x=x[mine], y=y[mine], other_x=x[others], other_y=y[others], rng=rng)


def training_known(
    facts: ModelFacts, challenge: Challenge, count: int, rng: np.random.Generator
) -> tuple[TrainingKnown, np.ndarray]:
    """Half of so many candidates known, and half asked about; of those, who is a member."""
    drawn = challenge.at_most(count, rng)
    order = rng.permutation(len(drawn.members))
    known, asked = order[: len(order) // 2], order[len(order) // 2 :]
    inside, outside = known[drawn.members[known]], known[~drawn.members[known]]
    if not len(inside) or not len(outside) or len(set(drawn.members[asked].tolist())) < 2:
        raise ConfigError("There are too few candidates to know some and ask about others.")
    members, others, rest = (_read(drawn, rows) for rows in (inside, outside, asked))
    seen = TrainingKnown(
        facts=facts,
        members_x=members[0],
        members_y=members[1],
        others_x=others[0],
        others_y=others[1],
        x=rest[0],
        y=rest[1],
    )
    return seen, drawn.members[asked]


def toolbox_result(
    attack: ToolboxAttack,
    *,
    facts: ModelFacts,
    challenge: Challenge,
    rng: np.random.Generator,
    confidence: float,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What ``run.json`` is to say; and the curve, where there is one. ART's coins come from ``rng``."""
    if attack.needs == "owned_model":
        seen = owned_model(facts, challenge.data, rng)
        with global_coins(rng):
            told: Any = attack.result(seen)
        return {**told, "sees": "final_model"}, {}
    known, members = training_known(facts, challenge, attack.candidates, rng)  # type: ignore[attr-defined]
    with global_coins(rng):
        scores = np.asarray(attack.result(known))
    found = score(scores, members, confidence=confidence)
    more = {
        "level": "example",
        "sees": "final_model",
        "shadows": 0,
        "known": len(known.members_y) + len(known.others_y),
    }
    return {**found.to_json(), **more, "non_members_from": challenge.others}, {"roc": found.curve_to_json()}


def _read(challenge: Challenge, candidates: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Examples and labels of some candidates, as the model gets them."""
    rows = np.concatenate([challenge.groups[i] for i in candidates])
    index = ClientIndex(offsets=np.array([0, len(rows)], dtype=np.int64), indices=rows)
    x, y = replace(challenge.data, clients=index, holdout=None).client(0)
    return x.numpy(), y.numpy()
