"""Engines that do the same steps reach the same accuracy: paired over seeds, with the same data and batches."""

import numpy as np
import pytest
from scipy import stats

SEEDS = range(13)  # five leave the interval of private runs 1.1 points wide, and its end at -1.02
SHORT = ("data.test_fraction=0.5", "rounds=12", "model=mlp", "training.lr=0.5", "workers=1")  # 899 test examples
# noise little enough that five pairs can tell a point, and enough that clipping and noise shape the steps
PRIVATE = ("privacy=example", "privacy.epsilon=null", "privacy.noise_multiplier=0.3", "training.local_epochs=2")
POINT = 0.01


def difference(run_digits, one, other, *overrides):
    """95 % interval of the mean difference of accuracies (Student's t, paired); and what the second reaches."""
    reached = {
        engine: np.array(
            [
                run_digits(f"training.engine={engine}", f"seed={seed}", *SHORT, *overrides).record.metrics[
                    "test_accuracy"
                ]
                for seed in SEEDS
            ]
        )
        for engine in (one, other)
    }
    found = stats.ttest_rel(reached[one], reached[other]).confidence_interval(0.95)
    if np.array_equal(reached[one], reached[other]):  # no spread, no t
        found = (0.0, 0.0)
    low, high = found
    print(f"{one} - {other}: {100 * low:+.2f} .. {100 * high:+.2f} points; {other} reaches {reached[other].mean():.3f}")
    return low, high, reached[other]


@pytest.mark.slow
def test_private_steps_reach_what_opacus_reaches(run_digits):
    low, high, reached = difference(run_digits, "vectorized", "opacus", *PRIVATE)
    assert -POINT < low <= high < POINT
    assert reached.min() > 0.6, "something was learned"


@pytest.mark.slow
def test_plain_steps_reach_what_a_plain_loop_reaches(run_digits):
    low, high, reached = difference(run_digits, "vectorized", "sgd", "privacy=none")
    assert -POINT < low <= high < POINT
    assert reached.min() > 0.8, "something was learned"
