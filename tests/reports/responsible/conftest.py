"""Small real runs, attacked in three ways, at two epsilons and without privacy, over two seeds."""

from pathlib import Path
from typing import Any

import pytest

from fedpriv.config import compose
from fedpriv.experiment import run
from fedpriv.runs import find_runs
from fedpriv.tracking import Callback

ATTACKS = "attack=[loss_threshold,analytic_inversion,label_recovery]"


class Silent(Callback):
    """Tells nobody anything."""


@pytest.fixture(scope="session")
def attacked_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("responsible")
    shared = ("experiment=digits_smoke", "model=mlp", "rounds=1", "split.client_holdout=0.5", ATTACKS)
    few = ("attack.analytic_inversion.messages=2", "attack.label_recovery.messages=2", "evaluation.clients=false")
    for seed in ("seed=0", "seed=1"):
        for privacy in ("privacy.epsilon=1", "privacy.epsilon=8", "privacy=none"):
            given = [*shared, *few, privacy, seed, f"output_dir={folder}"]
            run(compose(given, config_dir=None), reporter=Silent())
    return folder


@pytest.fixture
def attacked(attacked_folder: Path) -> Any:
    """Read anew for each test, which may add to what they say."""
    return find_runs([attacked_folder])


@pytest.fixture
def by_sex(attacked: Any) -> Any:
    """The same, as if their data named a group: the accuracies of two, which grow apart as epsilon falls."""
    lost = {None: 0.0, 8: 0.02, 1: 0.10}
    for one in attacked:
        epsilon = None if one.epsilon is None else round(one.epsilon)
        down, seed = lost[epsilon], 0.01 * one.record.seed * (1 + (epsilon == 1))
        one.record.extra["fairness"] = {
            "sex": {
                "accuracy_by_group": {"women": 0.9 - 2 * down - seed, "men": 0.92 - down / 2 - seed},
                "demographic_parity_difference": 0.1 + down + seed,
                "equalized_odds_difference": 0.2,
                "test_examples_by_group": {"women": 12, "men": 300},
            }
        }
    return attacked
