"""The preflight: layers that would leak or have no per-example gradient are named before anything is trained."""

import pytest
import torch
from torch import nn

from fedpriv.errors import ConfigError
from fedpriv.training import check_model, fix_model


def check(model, *, example_level=True, input_shape=(1, 6, 6), num_classes=3):
    check_model(
        model,
        example_level=example_level,
        sample=torch.zeros(3, *input_shape),
        num_tokens=None,
        output_shape=(num_classes,),
    )


def network(*layers, outputs=3):
    return nn.Sequential(nn.Conv2d(1, 4, 3), *layers, nn.Flatten(), nn.Linear(64, outputs))


@pytest.mark.parametrize("example_level", [True, False])
@pytest.mark.parametrize("layer", [nn.BatchNorm2d(4), nn.InstanceNorm2d(4, track_running_stats=True, affine=True)])
def test_layers_that_remember_examples_are_refused_by_name(layer, example_level):
    with pytest.raises(ConfigError, match=rf"'1' \({type(layer).__name__}\).*fix_model=true"):
        check(network(layer), example_level=example_level)


def test_fixing_replaces_them():
    fixed = fix_model(network(nn.BatchNorm2d(4)))
    check(fixed)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in fixed.modules())


def test_layers_without_per_example_gradients_are_refused_by_name():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.memory = nn.LSTM(6, 4, batch_first=True)
            self.out = nn.Linear(4, 3)

        def forward(self, x):
            return self.out(self.memory(x[:, 0])[0][:, -1])

    with pytest.raises(ConfigError, match=r"'memory' \(LSTM\)"):
        check(Recurrent())
    check(Recurrent(), example_level=False)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (network(outputs=4), r"returns \(2, 4\).*asks for \(2, 3\)"),
        (nn.Linear(5, 3), "does not accept inputs"),
        (network().requires_grad_(False), "no trainable parameter"),
    ],
)
def test_models_that_do_not_fit_are_refused(model, words):
    with pytest.raises(ConfigError, match=words):
        check(model)


def test_checking_changes_nothing():
    model = network(nn.Dropout(0.5))
    before, state = torch.get_rng_state(), [p.clone() for p in model.parameters()]
    check(model)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(p, q) for p, q in zip(state, model.parameters(), strict=True))
    assert model.training


def test_a_parameter_that_no_message_can_carry_is_named():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3).to(torch.bfloat16))
    with pytest.raises(ConfigError, match=r"1\.weight is torch\.bfloat16.*float32"):
        check(model, example_level=False, input_shape=(4,))
