"""Noise lowers what attacks find, and 16 shadow models of MNIST-5k are minutes."""

import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fedpriv.config import compose
from fedpriv.experiment import run
from fedpriv.tracking import Callback

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # benchmarks/ is no part of the package

from benchmarks.membership import COMMON, EPSILONS, SEEDS, attacked, difference, location30, table  # noqa: E402

SHARED = ROOT.parent / "shared" / "data" / "location30"


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data/location30")
def test_the_loss_tells_less_at_epsilon_1_than_without_noise(tmp_path):
    """docs/attacks.md has LiRA and RMIA, too."""
    asked = [word for word in COMMON if not word.startswith("attack")]
    asked += [f"data.path={location30(SHARED, tmp_path)}", f"output_dir={tmp_path}", "attack=loss_threshold"]
    found = {
        epsilon: np.array(
            [
                attacked([*asked, f"privacy.epsilon={epsilon}", f"seed={seed}"])["loss_threshold"]["auc"]
                for seed in SEEDS
            ]
        )
        for epsilon in ("inf", "1")
    }
    mean, low, _ = difference(found["inf"], found["1"])
    assert mean > 0.1
    assert low > 0


@pytest.mark.slow
def test_lira_with_16_shadows_on_mnist5k_takes_minutes(tmp_path):
    """Five on two cores: ten of one."""
    asked = ["experiment=mnist5k_no_privacy", "split.client_holdout=0.5", f"output_dir={tmp_path}", "workers=1"]
    run(compose(asked, config_dir=None), reporter=Callback())
    began = time.process_time()
    record = run(compose([*asked, "attack=lira_online"], config_dir=None), reporter=Callback())
    assert record.extra["attacks"]["lira_online"]["shadows"] == 16
    assert time.process_time() - began < 600


def test_differences_have_students_interval():
    mean, low, high = difference(np.array([0.70, 0.72, 0.68]), np.array([0.55, 0.55, 0.55]))
    # 4.3027 standard errors at two degrees of freedom
    assert (mean, low, high) == pytest.approx(
        (0.15, 0.15 - 4.3027 * 0.02 / 3**0.5, 0.15 + 4.3027 * 0.02 / 3**0.5), rel=1e-4
    )


def test_the_table_has_a_row_an_epsilon():
    one = {"auc": 0.6, "tpr_at_1pct_fpr": 0.02}
    row = {"accuracy": 0.5, "loss_threshold": one, "lira_online": one, "rmia": one}
    lines = table({(epsilon, seed): row for epsilon in EPSILONS for seed in SEEDS}).splitlines()
    assert lines[2].startswith("| inf | 0.500 ± 0.000 | 0.600 ± 0.000")
    assert "AUC at inf less AUC at 1 is 0.000" in lines[-1]
