import math

import numpy as np
import pytest
import torch
from torch import nn

from fedpriv.evaluation import baseline, by_size, evaluate_global, in_channels_last, spread
from fedpriv.training import Classification

PREFIX = "diagnostic_client_accuracy_"


def accuracy_spread(values):
    return spread(values, name="diagnostic_client_accuracy")


class Constant(nn.Module):
    """The same logits for everything; notes whether it was asked in training mode."""

    def __init__(self, *logits):
        super().__init__()
        self.logits = torch.tensor(logits)
        self.modes = set()

    def forward(self, x):
        self.modes.add(self.training)
        return self.logits.expand(len(x), -1)


def evaluate(model, data):
    return evaluate_global(model, data=data, task=Classification(num_classes=3), device=torch.device("cpu"))


def test_accuracy_is_the_share_of_the_predicted_class(new_data):
    data = new_data([5, 5])
    shares = [evaluate(Constant(*one), data)["test_accuracy"] for one in np.eye(3).tolist()]
    assert shares == pytest.approx((np.bincount(data.test.y, minlength=3) / len(data.test)).tolist())


def test_loss_is_the_mean_cross_entropy(new_data):
    assert evaluate(Constant(1.0, 1.0, 1.0), new_data([5]))["test_loss"] == pytest.approx(math.log(3))


def test_the_baseline_is_the_share_of_the_largest_class_of_the_test_set(new_data):
    data = new_data([5])
    counts = np.bincount(data.test.y, minlength=3)
    assert baseline(data, task=Classification(num_classes=3)) == counts.max() / counts.sum()


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_is_in_evaluation_mode_and_leaves_the_model_as_it_was(new_data, training):
    model = Constant(0.0, 1.0, 2.0).train(training)
    evaluate(model, new_data([5]))
    assert model.modes == {False}
    assert model.training is training


def test_no_generator_moves_and_no_gradient_is_left(new_data):
    model = nn.Sequential(nn.Linear(6, 3), nn.Dropout(0.5))
    before = torch.get_rng_state()
    first, second = evaluate(model, new_data([5])), evaluate(model, new_data([5]))
    assert first == second
    assert torch.equal(before, torch.get_rng_state())
    assert all(p.grad is None for p in model.parameters())


def test_spread_holds_quantiles_and_mean_under_the_name_of_a_diagnostic():
    assert accuracy_spread(np.linspace(0, 1, 11)) == pytest.approx(
        {
            f"{PREFIX}min": 0.0,
            **{f"{PREFIX}p{10 * n}": n / 10 for n in (1, 2, 3, 4, 6, 7, 8, 9)},
            f"{PREFIX}median": 0.5,
            f"{PREFIX}max": 1.0,
            f"{PREFIX}mean": 0.5,
        }
    )


def test_clients_that_could_not_be_evaluated_are_left_out_of_the_spread():
    assert accuracy_spread(np.array([0.25, np.nan, 0.75])) == accuracy_spread(np.array([0.25, 0.75]))
    assert accuracy_spread(np.array([np.nan])) == {}
    assert accuracy_spread(np.array([])) == {}


def test_quarters_are_of_clients_by_their_number_of_examples():
    values = np.array([0.9, 0.1, 0.2, np.nan, 0.4, 0.3, 0.8, 0.6, 0.5])
    sizes = np.array([80, 1, 2, 9, 20, 10, 70, 50, 40])
    assert by_size(values, sizes, name="a") == pytest.approx(
        {"a_quarter1": 0.15, "a_quarter2": 0.35, "a_quarter3": 0.55, "a_quarter4": 0.85}
    )
    assert by_size(values[:3], sizes[:3], name="a") == {}


class Views(nn.Module):
    """Has its convolution's numbers in the order in which they lie, as `view` wants them."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3)

    def forward(self, x):
        return self.conv(x).view(len(x), -1)


class Reads(Views):
    """Sees another order of numbers in another memory format, and says nothing."""

    def forward(self, x):
        y = self.conv(x)
        return y.permute(0, 2, 3, 1).reshape(len(x), -1) if y.stride(1) == 1 else y.flatten(1)


def test_images_are_tested_in_channels_last_with_the_same_outputs():
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    x = torch.rand(5, 2, 8, 8)
    expected = model(x)
    quick = in_channels_last(model, x)
    assert quick is not model
    assert quick[0].weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(quick(x), expected)


@pytest.mark.parametrize("model", [Views(), Reads()])
def test_a_model_that_looks_at_strides_is_tested_as_it_is(model):
    assert in_channels_last(model, torch.rand(2, 2, 8, 8)) is model


def test_what_is_no_image_is_tested_as_it_is():
    model = nn.Linear(3, 2)
    assert in_channels_last(model, torch.rand(2, 3)) is model
