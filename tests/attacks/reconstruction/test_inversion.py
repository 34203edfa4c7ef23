"""Attacks on real digits' gradients: what is there is found, and what is not there is not."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from fedpriv.attacks.reconstruction import (
    AnalyticInversion,
    Clip,
    GradientInversion,
    InputLayer,
    LabelRecovery,
    find_layers,
)
from fedpriv.attacks.reconstruction.labels import all_labels
from fedpriv.attacks.scoring import LabelScore, matched, nearest_others, psnr
from fedpriv.errors import ConfigError

ONE = {"batch_size": 1, "messages": 1, "model": "initial"}
SEARCH = {"iterations": 300, "starts": 2, "lr": 0.1, "total_variation": 1e-4}


def coins(seed=0):
    return torch.Generator().manual_seed(seed)


def decibels(truth, found):
    """Of each true image with its match."""
    a, b = truth.double().numpy(), found.double().numpy()
    order = matched(a, b)
    return [psnr(float(((x - b[j]) ** 2).mean())) for x, j in zip(a, order, strict=True)]


def baseline(digits, rows):
    """Of the nearest other image of all digits."""
    images = digits[0].double().numpy()
    _, errors = nearest_others(images[rows], np.asarray(rows), [(np.arange(len(images)), images)])
    return [psnr(error) for error in errors.tolist()]


def test_a_linear_layer_gives_its_input_back(digits, network, observe):
    x, y = digits
    for i in range(5):
        found = AnalyticInversion(**ONE).recover(observe(network(), x[i : i + 1], y[i : i + 1]), coins())
        assert decibels(x[i : i + 1], found.images)[0] > 60


def test_examples_that_a_relu_keeps_apart_are_found_in_a_batch(digits, network, observe):
    x, y = digits
    attack = AnalyticInversion(batch_size=4, messages=1, model="initial")
    found = attack.recover(observe(network(nn.ReLU), x[:4], y[:4]), coins()).images
    assert found.shape == (4, 1, 8, 8)
    assert sum(db > 60 for db in decibels(x[:4], found)) >= 2
    assert 0 <= float(found.min()) <= float(found.max()) <= 1


@pytest.mark.parametrize("method", ["dlg", "idlg", "cosine"])
def test_optimisation_finds_an_image_of_a_small_network(digits, network, observe, method):
    x, y = digits
    attack = GradientInversion(method=method, **ONE, **SEARCH)
    found = attack.recover(observe(network(nn.ReLU), x[:1], y[:1]), coins()).images
    assert decibels(x[:1], found)[0] > 40


def test_a_search_is_a_function_of_its_coins(digits, network, observe):
    x, y = digits
    attack = GradientInversion(method="cosine", **ONE, **{**SEARCH, "iterations": 5})
    seen = observe(network(), x[:1], y[:1])
    one, same, other = (attack.recover(seen, coins(seed)).images for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_clipped_gradient_is_matched_by_clipped_guesses(digits, network, observe):
    x, y = digits
    model = network()
    plain = observe(model, x[:1], y[:1])
    length = float(torch.cat([part.reshape(-1) for part in plain.gradient.values()]).norm())
    clipped = {name: part * 0.1 / length for name, part in plain.gradient.items()}
    attack = GradientInversion(method="idlg", **ONE, **SEARCH)
    seen = observe(model, x[:1], y[:1], gradient=clipped, client_clip=Clip(norm=0.1, order=2))
    assert decibels(x[:1], attack.recover(seen, coins()).images)[0] > 40
    # one that does not know of it looks for an image whose gradient is that small, and there is none
    ignorant = observe(model, x[:1], y[:1], gradient=clipped)
    assert decibels(x[:1], attack.recover(ignorant, coins()).images)[0] < 40


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
def test_nearly_all_labels_of_eight_are_found(digits, network, observe, activation):
    x, y = digits
    model, truth, found = network(activation), [], []
    for start in range(0, 400, 8):
        batch = slice(start, start + 8)
        truth.append(y[batch].numpy())
        attack = LabelRecovery(batch_size=8, messages=1, model="initial")
        found.append(attack.recover(observe(model, x[batch], y[batch]), coins()).labels)
    told = LabelScore(truth=truth, found=found, num_classes=10).to_json()
    assert told["success"] > 0.85
    assert told["precision"] > 0.95
    assert told["baseline"] < 0.7


def test_repeated_labels_are_counted(digits, network, observe):
    x, y = digits
    rows = [*np.flatnonzero(y == 3)[:5].tolist(), *np.flatnonzero(y == 7)[:3].tolist()]
    assert all_labels(observe(network(), x[rows], y[rows])).tolist() == [3] * 5 + [7] * 3


# -- negative controls -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "attack",
    [AnalyticInversion(**ONE), *(GradientInversion(method=m, **ONE, **SEARCH) for m in ("dlg", "idlg", "cosine"))],
    ids=["analytic", "dlg", "idlg", "cosine"],
)
def test_a_random_gradient_gives_nothing(digits, network, observe, attack):
    x, y = digits
    rows, closer = [0, 1, 2, 3], []
    for i in rows:
        seen = observe(network(), x[i : i + 1], y[i : i + 1])
        rng = np.random.default_rng(i)
        noise = {name: torch.from_numpy(rng.normal(size=g.shape)) for name, g in seen.gradient.items()}
        found = attack.recover(observe(network(), x[i : i + 1], y[i : i + 1], gradient=noise), coins()).images
        closer.append(decibels(x[i : i + 1], found)[0] > baseline(digits, [i])[0])
    assert not any(closer)


def test_reconstructions_of_others_are_at_the_baseline(digits, network, observe):
    """Shuffled truth: what was found of one client says nothing of another."""
    x, y = digits
    rows = list(range(20))
    found = [
        AnalyticInversion(**ONE).recover(observe(network(), x[i : i + 1], y[i : i + 1]), coins()).images for i in rows
    ]
    others = [decibels(x[i : i + 1], found[i - 1])[0] for i in rows]
    assert not any(np.array(others) > baseline(digits, rows))


def test_shuffled_labels_are_found_by_chance(digits, network, observe):
    x, y = digits
    truth, found, rng = [], [], np.random.default_rng(0)
    for start in range(0, 800, 8):
        batch = slice(start, start + 8)
        truth.append(y[torch.from_numpy(rng.permutation(len(y))[:8])].numpy())
        attack = LabelRecovery(batch_size=8, messages=1, model="initial")
        found.append(attack.recover(observe(network(), x[batch], y[batch]), coins()).labels)
    told = LabelScore(truth=truth, found=found, num_classes=10).to_json()
    assert abs(told["success"] - told["baseline"]) < 0.08  # 4 standard errors of 100 batches


def test_noise_brings_an_inversion_below_the_nearest_other_image(digits, network, observe):
    x, y = digits
    far = []
    for i in range(4):
        seen = observe(network(), x[i : i + 1], y[i : i + 1], noise=0.1)
        far.append(decibels(x[i : i + 1], AnalyticInversion(**ONE).recover(seen, coins()).images)[0])
    assert max(far) < min(baseline(digits, range(4)))


# -- layers ------------------------------------------------------------------------------------------------


def test_first_and_last_layers_are_found():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10, bias=False)).eval()
    first, last = find_layers(model, (1, 8, 8))
    assert first == InputLayer(weight="1.weight", bias="1.bias")
    assert (last.weight, last.bias, last.inputs_are_nonnegative) == ("3.weight", None, True)


class Scaled(nn.Module):
    """Changes the input first, or the output last."""

    def __init__(self, *, before, after):
        super().__init__()
        self.linear, self.before, self.after = nn.Linear(64, 10), before, after

    def forward(self, x):
        return self.after * self.linear(self.before * x.flatten(1))


@pytest.mark.parametrize(
    ("model", "has_first", "has_last"),
    [
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 10)), False, True),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 10, bias=False)), False, True),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Softmax(dim=1)), True, False),
        (Scaled(before=2.0, after=1.0), False, True),
        (Scaled(before=1.0, after=2.0), True, False),
    ],
    ids=["convolution", "no bias", "softmax", "scaled input", "scaled output"],
)
def test_layers_that_are_not_linear_first_or_last_are_not_taken_for_such(model, has_first, has_last):
    first, last = find_layers(model.eval(), (1, 8, 8))
    assert (first is not None, last is not None) == (has_first, has_last)


def test_a_layer_that_is_used_twice_is_neither():
    shared = nn.Linear(64, 64)
    assert find_layers(nn.Sequential(nn.Flatten(), shared, nn.ReLU(), shared).eval(), (1, 8, 8)) == (None, None)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AnalyticInversion(batch_size=0, messages=1, model="initial"), "batch_size=0 must be at least 1"),
        (lambda: LabelRecovery(batch_size=1, messages=0, model="initial"), "messages=0 must be at least 1"),
        (lambda: LabelRecovery(batch_size=1, messages=1, model="last"), "model=last is unknown"),
        (lambda: GradientInversion(method="deep", **ONE, **SEARCH), "method=deep is unknown"),
        (lambda: GradientInversion(method="idlg", **{**ONE, "batch_size": 2}, **SEARCH), "label of one example"),
        (lambda: GradientInversion(method="dlg", **ONE, **{**SEARCH, "starts": 0}), "starts=0 must be at least 1"),
        (lambda: GradientInversion(method="dlg", **ONE, **{**SEARCH, "lr": 0.0}), "lr must be positive"),
    ],
    ids=["batch", "messages", "model", "method", "idlg batch", "starts", "lr"],
)
def test_keys_out_of_range_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_an_example_clip_bounds_every_gradient_of_a_batch(digits, network, observe):
    from fedpriv.attacks.reconstruction.matching import Matcher

    x, y = digits
    model = network().double()
    seen = observe(network(), x[:3], y[:3], example_clip=Clip(norm=0.5, order=2))
    found = Matcher(seen=seen, model=model).gradient(x[:3].double(), functional.one_hot(y[:3], 10).double())
    parts = []
    for i in range(3):
        loss = functional.cross_entropy(model(x[i : i + 1].double()), y[i : i + 1])
        one = torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(model.parameters()))])
        parts.append(one * min(1.0, 0.5 / float(one.norm())))
    assert torch.allclose(found, torch.stack(parts).mean(dim=0), rtol=1e-9)
