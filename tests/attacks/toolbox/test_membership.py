"""ART's membership attack tells members of a model that remembers them, and nobody of one that does not."""

import numpy as np
import pytest
import torch
from torch import nn

from fedpriv.attacks.scoring import score
from fedpriv.attacks.toolbox import ArtMembership, ModelFacts, TrainingKnown
from fedpriv.streams import global_coins

pytest.importorskip("art.estimators", reason="needs the extra art")
CLASSES, FEATURES, EACH = 4, 20, 100


def model_of_noise(x, y, *, steps):
    """Labels are random: all that there is to learn is who was trained on."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, CLASSES))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        optimizer.step()
    return model


def auc_interval(attack_model, *, steps):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4 * EACH, FEATURES)).astype(np.float32)
    y = rng.integers(0, CLASSES, 4 * EACH)
    members, others, asked = slice(0, EACH), slice(2 * EACH, 3 * EACH), np.r_[EACH : 2 * EACH, 3 * EACH : 4 * EACH]
    seen = TrainingKnown(
        facts=ModelFacts(
            model=model_of_noise(x[: 2 * EACH], y[: 2 * EACH], steps=steps),
            num_classes=CLASSES,
            input_shape=(FEATURES,),
            darkest=None,
            brightest=None,
        ),
        members_x=x[members],
        members_y=y[members],
        others_x=x[others],
        others_y=y[others],
        x=x[asked],
        y=y[asked],
    )
    with global_coins(np.random.default_rng(1)):
        scores = ArtMembership(attack_model=attack_model, candidates=4 * EACH).result(seen)
    return score(scores, np.arange(2 * EACH) < EACH, confidence=0.95).to_json()["auc_interval"]


@pytest.mark.parametrize(("attack_model", "least"), [("rf", 0.85), ("gb", 0.85), ("knn", 0.85), ("dt", 0.5)])
def test_members_of_a_model_that_remembers_them_are_told_apart(attack_model, least):
    assert auc_interval(attack_model, steps=150)[0] > least


@pytest.mark.parametrize("attack_model", ["gb", "lr"])
def test_an_untrained_model_gives_nobody_away(attack_model):
    low, high = auc_interval(attack_model, steps=0)
    assert low < 0.5 < high
