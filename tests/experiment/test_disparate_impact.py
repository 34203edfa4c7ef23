"""Disparate impact reproduced: privacy costs a rare digit far more accuracy than the others."""

import numpy as np
import pytest

from fedpriv.config import compose
from fedpriv.experiment import run
from fedpriv.tracking import Callback

RARE = "8"


class Silent(Callback):
    """Tells nobody anything."""


@pytest.mark.slow
def test_a_rare_digit_pays_most_for_privacy(tmp_path):
    """Bagdasaryan, Poursaeed & Shmatikov 2019, section 4.5, on MNIST-5k, each with a learning rate that suits it."""
    accuracy = {}
    for name, overrides in (("none", ("privacy=none", "training.lr=0.1")), ("private", ("privacy.epsilon=8",))):
        of_seed = []
        for seed in range(3):
            given = ["experiment=mnist5k_rare_digit", f"seed={seed}", f"output_dir={tmp_path}", *overrides]
            record = run(compose(given, config_dir=None), reporter=Silent())
            of_seed.append(record.extra["fairness"]["digit"]["accuracy_by_group"])
        accuracy[name] = {digit: np.array([found[digit] for found in of_seed]) for digit in map(str, range(10))}
    lost = {digit: accuracy["none"][digit] - accuracy["private"][digit] for digit in accuracy["none"]}
    others = np.mean([lost[digit] for digit in lost if digit != RARE], axis=0)
    assert (lost[RARE] > 0.2).all()  # of every seed
    assert lost[RARE].mean() > 4 * others.mean()
    assert lost[RARE].mean() > max(lost[digit].mean() for digit in lost if digit != RARE) + 0.2
