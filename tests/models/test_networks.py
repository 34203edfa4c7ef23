import pytest
import torch
from opacus import GradSampleModule
from opacus.validators import ModuleValidator
from torch.nn import functional

import fedpriv.models
from fedpriv.errors import ConfigError
from fedpriv.models import cnn, lenet, logistic, mlp

MODELS = {
    "logistic": logistic,
    "mlp": lambda **shape: mlp(**shape, hidden=[12, 7]),
    "lenet": lenet,
    "cnn": cnn,
}


def count(model):
    return sum(p.numel() for p in model.parameters())


def test_sizes_are_those_of_the_benchmark_workloads():
    assert count(lenet(input_shape=(1, 28, 28), num_classes=10)) == 26_010
    assert count(cnn(input_shape=(3, 32, 32), num_classes=10)) == 1_626_442
    assert count(logistic(input_shape=(64,), num_classes=10)) == 650


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (2, 14, 17)])
def test_images_become_logits(name, shape):
    model = MODELS[name](input_shape=shape, num_classes=5)
    assert model(torch.zeros(4, *shape)).shape == (4, 5)


@pytest.mark.parametrize("name", ["logistic", "mlp"])
def test_vectors_become_logits(name):
    assert MODELS[name](input_shape=[30], num_classes=2)(torch.zeros(3, 30)).shape == (3, 2)


def test_cnn_takes_the_digits():
    assert cnn(input_shape=(1, 8, 8), num_classes=10)(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize(
    ("factory", "shape", "mend"),
    [
        (lenet, (1, 8, 8), "use model=cnn, mlp or logistic"),
        (lenet, (1, 13, 28), "use model=cnn, mlp or logistic"),
        (lenet, (30,), "use model=mlp or logistic"),
        (lenet, (1, 5, 5), "use model=mlp or logistic"),
        (cnn, (1, 5, 8), "use model=mlp or logistic"),
        (cnn, (30,), "use model=mlp or logistic"),
    ],
)
def test_inputs_that_are_too_small_name_a_model_that_fits(factory, shape, mend):
    with pytest.raises(ConfigError, match=mend):
        factory(input_shape=shape, num_classes=10)


def test_a_hidden_layer_without_units_is_refused():
    with pytest.raises(ConfigError, match="hidden"):
        mlp(input_shape=(4,), num_classes=2, hidden=[3, 0])


def test_state_dict_keys_are_plain():
    assert list(MODELS["mlp"](input_shape=(4,), num_classes=2).state_dict()) == [
        "hidden1.weight", "hidden1.bias", "hidden2.weight", "hidden2.bias", "output.weight", "output.bias",
    ]  # fmt: skip
    assert list(lenet(input_shape=(1, 28, 28), num_classes=10).state_dict()) == [
        f"{layer}.{part}" for layer in ("conv1", "conv2", "fc1", "fc2") for part in ("weight", "bias")
    ]


@pytest.mark.parametrize("name", MODELS)
def test_opacus_gives_per_example_gradients_that_average_to_the_batch_gradient(name):
    torch.manual_seed(0)
    model = MODELS[name](input_shape=(1, 14, 14), num_classes=3)
    assert ModuleValidator.validate(model, strict=False) == []
    x, y = torch.randn(5, 1, 14, 14, requires_grad=True), torch.tensor([0, 1, 2, 0, 1])
    wrapped = GradSampleModule(model)
    functional.cross_entropy(wrapped(x), y).backward()
    for parameter in wrapped.parameters():
        assert parameter.grad_sample.shape == (5, *parameter.shape)
        torch.testing.assert_close(parameter.grad_sample.mean(0), parameter.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_the_callers_seed_decides_the_weights(name):
    def weights(seed):
        torch.manual_seed(seed)
        return torch.cat(
            [p.flatten() for p in MODELS[name](input_shape=(1, 14, 14), num_classes=3).parameters()]
        )

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_public_model_names_exist():
    assert all(hasattr(fedpriv.models, name) for name in fedpriv.models.__all__)
