"""What docs/attacks/analytic_inversion.md says of noise, on MNIST-5k."""

import pytest
from benchmarks.inversion import ATTACKS, against_noise


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_at_a_hundredth_of_the_gradients_length_the_analytic_attack_is_below_the_nearest_other_image(seed):
    assert against_noise("MNIST-5k", ATTACKS["analytic"], 0.0, seed)["psnr"] > 60
    noised = against_noise("MNIST-5k", ATTACKS["analytic"], 0.01, seed)
    assert noised["psnr"] < noised["baseline"]
    assert noised["success"] < 0.5
