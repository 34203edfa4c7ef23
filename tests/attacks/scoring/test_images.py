"""How images are compared."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.attacks.scoring import ImageScore, LabelScore, matched, nearest_others, psnr, ssim


@pytest.mark.parametrize(("error", "decibels"), [(1.0, 0.0), (0.01, 20.0), (1e-6, 60.0), (0.0, 150.0)])
def test_decibels_are_of_the_squared_error(error, decibels):
    assert psnr(error) == pytest.approx(decibels)


def by_definition(a, b):
    """Wang et al. 2004, equation 13, window by window."""
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    w = np.outer(line, line) / np.outer(line, line).sum()
    values = []
    for i in range(a.shape[0] - 10):
        for j in range(a.shape[1] - 10):
            x, y = a[i : i + 11, j : j + 11], b[i : i + 11, j : j + 11]
            mx, my = (w * x).sum(), (w * y).sum()
            vx, vy, vxy = (w * (x - mx) ** 2).sum(), (w * (y - my) ** 2).sum(), (w * (x - mx) * (y - my)).sum()
            top = (2 * mx * my + 1e-4) * (2 * vxy + 9e-4)
            values.append(top / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4)))
    return np.mean(values)


def test_similarity_is_that_of_its_definition():
    rng = np.random.default_rng(0)
    a = rng.random((14, 13))
    b = np.clip(a + rng.normal(scale=0.2, size=a.shape), 0, 1)
    assert ssim(a[None], b[None]) == pytest.approx(by_definition(a, b), abs=1e-12)


def test_similarity_of_uniform_images_is_that_of_their_means():
    """Equation 13 without structure: (2 mx my + C1) / (mx^2 + my^2 + C1)."""
    a, b = np.full((1, 12, 12), 0.2), np.full((1, 12, 12), 0.8)
    assert ssim(a, b) == pytest.approx((2 * 0.16 + 1e-4) / (0.04 + 0.64 + 1e-4))


@given(st.integers(0, 2**32 - 1), st.integers(3, 20), st.integers(3, 20))
def test_similarity_is_symmetric_and_one_for_the_same(seed, height, width):
    rng = np.random.default_rng(seed)
    a, b = rng.random((2, height, width)), rng.random((2, height, width))
    assert ssim(a, a) == pytest.approx(1.0)
    assert ssim(a, b) == pytest.approx(ssim(b, a))
    assert ssim(a, b) < 1


def test_images_are_matched_in_any_order():
    rng = np.random.default_rng(1)
    truth, order = rng.random((5, 1, 4, 4)), rng.permutation(5)
    assert (matched(truth, truth[order] + 0.01) == np.argsort(order)).all()


def test_the_nearest_other_image_is_not_the_image_itself():
    images = np.array([0.0, 0.1, 0.5, 0.45])[:, None, None, None] * np.ones((1, 1, 2, 2))
    blocks = [(np.arange(2), images[:2]), (np.arange(2, 4), images[2:])]
    rows, errors = nearest_others(images[[0, 2]], np.array([0, 2]), blocks)
    assert rows.tolist() == [1, 3]
    assert errors == pytest.approx([0.01, 0.0025])


def test_success_is_the_share_that_is_closer_than_any_other():
    told = ImageScore(psnr=[30, 10, 20], baseline=[15, 15, 20], ssim=[1, 0, 0.5], confidence=0.95).to_json()
    assert told["success"] == pytest.approx(1 / 3)  # as close as another is not closer
    assert (told["psnr"], told["psnr_median"], told["ssim"], told["images"]) == (20, 20, 0.5, 3)
    assert told["success_interval"] == pytest.approx([0.00840, 0.90570], abs=1e-4)  # Clopper and Pearson 1934


def test_labels_are_counted_once_a_batch():
    score = LabelScore(
        truth=[np.array([1, 1, 2]), np.array([0])], found=[np.array([1, 3]), np.array([0, 4])], num_classes=10
    )
    assert score.to_json() == pytest.approx(
        {"success": 0.75, "precision": 0.5, "exact": 0.0, "baseline": 0.2, "batches": 2}
    )
