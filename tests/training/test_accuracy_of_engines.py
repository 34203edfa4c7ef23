"""Engines that do the same steps reach the same accuracy: paired over seeds, with the same data and batches."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

SHARED = Path(__file__).parents[3] / "shared" / "data"
SHORT = ("data.test_fraction=0.5", "rounds=12", "model=mlp", "training.lr=0.5", "workers=1")  # 899 test examples
# noise little enough that so few pairs can tell a point, and enough that clipping and noise shape the steps
PRIVATE = ("privacy=example", "privacy.epsilon=null", "privacy.noise_multiplier=0.3", "training.local_epochs=2")
# 60,000 images train, 10,000 test: noise seeds of one engine alone differ by 0.19 points, so that five pairs can tell
MNIST = (
    "experiment=fashion_example_dp",
    f"data.root={SHARED}",
    "data.path=mnist/train-images-idx3-ubyte.gz",
    "data.label=mnist/train-labels-idx1-ubyte.gz",
    "data.test_path=mnist/t10k-images-idx3-ubyte.gz",
    "data.test_label=mnist/t10k-labels-idx1-ubyte.gz",
    "data.mean=0.1307",
    "data.std=0.3081",
    "partition=iid",
    "partition.num_clients=4",
    "rounds=4",
    "training.batch_size=256",
    "training.lr=1.0",
    "privacy.epsilon=null",
    "privacy.noise_multiplier=0.5",
    "workers=2",
)
POINT = 0.01


def difference(run_digits, one, other, *overrides, seeds):
    """95 % interval of the mean difference of accuracies (Student's t, paired); and what the second reaches."""
    reached = {
        engine: np.array(
            [
                run_digits(f"training.engine={engine}", f"seed={seed}", *overrides).record.metrics["test_accuracy"]
                for seed in seeds
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
@pytest.mark.skipif(not (SHARED / "mnist").is_dir(), reason="needs the MNIST files in ../shared/data")
def test_private_steps_reach_what_opacus_reaches_on_mnist(run_digits):
    low, high, reached = difference(run_digits, "vectorized", "opacus", *MNIST, seeds=range(5))
    assert -POINT < low <= high < POINT
    assert reached.min() > 0.9, "something was learned"


@pytest.mark.slow
def test_private_steps_reach_what_opacus_reaches(run_digits):
    # five seeds of so small a test set leave an interval 1.1 points wide
    low, high, reached = difference(run_digits, "vectorized", "opacus", *SHORT, *PRIVATE, seeds=range(13))
    assert -POINT < low <= high < POINT
    assert reached.min() > 0.6, "something was learned"


@pytest.mark.slow
def test_plain_steps_reach_what_a_plain_loop_reaches(run_digits):
    low, high, reached = difference(run_digits, "vectorized", "sgd", "privacy=none", *SHORT, seeds=range(5))
    assert -POINT < low <= high < POINT
    assert reached.min() > 0.8, "something was learned"
