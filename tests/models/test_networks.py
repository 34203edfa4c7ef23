from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest
import torch
import yaml
from opacus import GradSampleModule
from opacus.validators import ModuleValidator
from torch import nn

import fedpriv.models
from fedpriv.config import conf_dir
from fedpriv.errors import ConfigError
from fedpriv.models import cnn, lenet, logistic, lstm, mlp, resnet, tabular_mlp, transformer
from fedpriv.targets import build

IMAGES = {
    "logistic": logistic,
    "mlp": partial(mlp, hidden=[12, 7]),
    "lenet": lenet,
    "cnn": cnn,
    "resnet": partial(resnet, width=4, blocks=2, groups=2),
}
small_lstm = partial(lstm, embedding=3, hidden=5, layers=2)
small_transformer = partial(transformer, width=8, heads=2, layers=2)


@dataclass(frozen=True)
class Case:
    """A model for 3 outputs, and the examples that it takes."""

    make: Callable[..., nn.Module]
    input_shape: tuple[int, ...]
    num_tokens: int | None = None
    output_shape: tuple[int, ...] = (3,)

    def model(self, seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        return self.make(input_shape=self.input_shape, num_outputs=3)

    def examples(self, n: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(7)
        if self.num_tokens is not None:
            return torch.randint(0, self.num_tokens, (n, *self.input_shape), generator=generator)
        return torch.randn(n, *self.input_shape, generator=generator)


CASES = {
    **{name: Case(make, (2, 14, 15)) for name, make in IMAGES.items()},
    "tabular_mlp": Case(partial(tabular_mlp, hidden=[6, 4], activation="tanh", dropout=0.0), (9,)),
    **{
        f"{name} of {kind}{' per position' if per_position else ''}": Case(
            partial(make, num_tokens=num_tokens, per_position=per_position),
            shape,
            num_tokens,
            (shape[0], 3) if per_position else (3,),
        )
        for name, make in (("lstm", small_lstm), ("transformer", small_transformer))
        for kind, num_tokens, shape in (("numbers", None, (7, 2)), ("tokens", 11, (6,)))
        for per_position in (False, True)
    },
}
CAUSAL = [name for name in CASES if "per position" in name]
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def count(model):
    return sum(p.numel() for p in model.parameters())


# Computed by hand from the layers' shapes where no source states them; lenet: Papernot et al. 2021; resnet: close to
# the 0.27 M of ResNet-20 (He et al. 2016, table 6) when blocks=3.
GOLDEN = {
    "logistic": ((64,), None, 10, 650),
    "mlp": ((64,), None, 10, 64 * 64 + 64 + 64 * 10 + 10),
    "tabular_mlp": ((104,), None, 2, 104 * 64 + 64 + 64 * 32 + 32 + 32 * 2 + 2),
    "lenet": ((1, 28, 28), None, 10, 26_010),
    "cnn": ((3, 32, 32), None, 10, 1_626_442),
    "resnet": ((3, 32, 32), None, 10, 77_850),
    "lstm": ((128, 6), None, 6, 4 * 64 * (6 + 64 + 1) + 64 * 6 + 6),
    "char_lstm": ((80,), 80, 80, 80 * 8 + 4 * 128 * (8 + 128 + 1) + 128 * 80 + 80),
    "transformer": ((128, 6), None, 6, 29_990),
    "char_transformer": ((80,), 80, 80, 115_536),
}


@pytest.mark.parametrize("name", [file.stem for file in sorted((conf_dir() / "model").glob("*.yaml"))])
def test_sizes_of_the_choices(name):
    shape, num_tokens, num_outputs, expected = GOLDEN[name]
    text = (conf_dir() / "model" / f"{name}.yaml").read_text()
    offered = {"input_shape": shape, "num_outputs": num_outputs, "num_tokens": num_tokens}
    assert count(build(yaml.safe_load(text), expected=nn.Module, where="model", **offered)) == expected
    told = text.splitlines()[0]
    assert "parameters" not in told or f"{expected:,} parameters" in told


def test_deeper_residual_nets_have_the_published_size():
    # He et al. 2016, table 6: 0.27 M, 0.46 M, 0.66 M, 0.85 M; here with 1x1 convolutions as short cuts
    deep = partial(resnet, input_shape=(3, 32, 32), num_outputs=10, width=16, groups=8)
    sizes = [round(count(deep(blocks=blocks)) / 1e6, 2) for blocks in (3, 5, 7, 9)]
    assert sizes == [0.27, 0.47, 0.66, 0.86]


@every_case
def test_examples_become_outputs(case):
    assert case.model()(case.examples(4)).shape == (4, *case.output_shape)


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (2, 14, 17)])
def test_images_of_any_size_become_outputs(name, shape):
    assert IMAGES[name](input_shape=shape, num_outputs=5)(torch.zeros(4, *shape)).shape == (4, 5)


@pytest.mark.parametrize("name", ["logistic", "mlp"])
def test_vectors_become_outputs(name):
    assert IMAGES[name](input_shape=[30], num_outputs=2)(torch.zeros(3, 30)).shape == (3, 2)


@pytest.mark.parametrize("name", ["cnn", "resnet"])
def test_the_digits_fit(name):
    assert IMAGES[name](input_shape=(1, 8, 8), num_outputs=10)(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize(
    ("make", "shape", "num_tokens", "mend"),
    [
        (lenet, (1, 8, 8), ..., "use model=resnet, cnn, mlp or logistic"),
        (lenet, (1, 13, 28), ..., "use model=resnet, cnn, mlp or logistic"),
        (lenet, (30,), ..., "use model=tabular_mlp, mlp or logistic; for characters, char_lstm or char_transformer"),
        (lenet, (1, 5, 5), ..., "use model=resnet, mlp or logistic"),
        (cnn, (1, 5, 8), ..., "use model=resnet, mlp or logistic"),
        (cnn, (128, 6), ..., "use model=lstm, transformer, mlp or logistic"),
        (IMAGES["resnet"], (1, 3, 8), ..., "4x4.*use model=mlp or logistic"),
        (CASES["tabular_mlp"].make, (1, 28, 28), ..., "use model=resnet, lenet, cnn, mlp or logistic"),
        (CASES["tabular_mlp"].make, (20, 3), ..., r"\(20, 3\): use model=lstm, transformer"),
        (partial(small_lstm, per_position=False), (30,), None, "use model=tabular_mlp, mlp or logistic"),
        (partial(small_lstm, per_position=False), (3, 32, 32), None, "use model=resnet, lenet"),
        (partial(small_transformer, per_position=True), (30, 2, 2, 2), None, "use model=mlp or logistic"),
    ],
)
def test_inputs_that_do_not_fit_name_a_model_that_does(make, shape, num_tokens, mend):
    tokens = {} if num_tokens is ... else {"num_tokens": num_tokens}
    with pytest.raises(ConfigError, match=mend):
        make(input_shape=shape, num_outputs=10, **tokens)


@pytest.mark.parametrize(
    ("make", "shape", "message"),
    [
        (partial(mlp, hidden=[3, 0]), (4,), "hidden"),
        (partial(tabular_mlp, hidden=[0], activation="relu", dropout=0), (4,), "hidden"),
        (partial(tabular_mlp, hidden=[3], activation="relu", dropout=1), (4,), r"model\.dropout=1 must"),
        (partial(resnet, width=0, blocks=1, groups=1), (1, 8, 8), r"model\.width=0 must be at least 1"),
        (partial(resnet, width=12, blocks=1, groups=8), (1, 8, 8), r"groups=8 does not divide model\.width=12"),
        (partial(lstm, num_tokens=None, embedding=1, hidden=4, layers=0, per_position=True), (8, 2), "layers=0"),
        (
            partial(transformer, num_tokens=5, width=10, heads=4, layers=1, per_position=True),
            (8,),
            r"heads=4 does not divide model\.width=10",
        ),
    ],
)
def test_keys_out_of_their_range_are_refused(make, shape, message):
    with pytest.raises(ConfigError, match=message):
        make(input_shape=shape, num_outputs=2)


def test_state_dict_keys_are_plain():
    assert list(IMAGES["mlp"](input_shape=(4,), num_outputs=2).state_dict()) == [
        "hidden1.weight", "hidden1.bias", "hidden2.weight", "hidden2.bias", "output.weight", "output.bias",
    ]  # fmt: skip
    assert list(lenet(input_shape=(1, 28, 28), num_outputs=10).state_dict()) == [
        f"{layer}.{part}" for layer in ("conv1", "conv2", "fc1", "fc2") for part in ("weight", "bias")
    ]
    assert list(CASES["lstm of tokens"].model().state_dict()) == [
        "embedding.weight", "layers.0.ih.weight", "layers.0.ih.bias", "layers.0.hh.weight",
        "layers.1.ih.weight", "layers.1.ih.bias", "layers.1.hh.weight", "output.weight", "output.bias",
    ]  # fmt: skip
    assert [name for name in CASES["transformer of numbers"].model().state_dict() if "blocks.1" not in name] == [
        "embedding.weight", "embedding.bias", "positions.weight",
        "blocks.0.norm1.weight", "blocks.0.norm1.bias",
        "blocks.0.attention.query_key_value.weight", "blocks.0.attention.query_key_value.bias",
        "blocks.0.attention.out.weight", "blocks.0.attention.out.bias",
        "blocks.0.norm2.weight", "blocks.0.norm2.bias",
        "blocks.0.fc1.weight", "blocks.0.fc1.bias", "blocks.0.fc2.weight", "blocks.0.fc2.bias",
        "norm.weight", "norm.bias", "output.weight", "output.bias",
    ]  # fmt: skip


def loss_sum(outputs):
    return (outputs.sin() * torch.arange(1.0, 1 + outputs[0].numel()).view_as(outputs[0])).sum()


@every_case
def test_opacus_gives_each_example_the_gradient_that_it_has_alone(case):
    model, x = case.model(), case.examples(4)
    assert ModuleValidator.validate(model, strict=False) == []
    alone = []
    for example in x:
        gradients = torch.autograd.grad(loss_sum(model(example[None])), list(model.parameters()))
        alone.append(dict(zip(dict(model.named_parameters()), gradients, strict=True)))
    wrapped = GradSampleModule(model, loss_reduction="sum")
    loss_sum(wrapped(x)).backward()
    for name, parameter in model.named_parameters():
        expected = torch.stack([gradients[name] for gradients in alone])
        torch.testing.assert_close(parameter.grad_sample, expected, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(parameter.grad, expected.sum(0), atol=1e-5, rtol=1e-4)


@every_case
def test_examples_do_not_mix_and_nothing_is_remembered(case):
    model, x = case.model(), case.examples(4)
    torch.testing.assert_close(model(x)[:2], model(x[:2]), atol=1e-6, rtol=1e-5)
    assert list(model.buffers()) == []


@pytest.mark.parametrize("name", CAUSAL)
def test_an_output_per_position_does_not_see_what_comes_later(name):
    case = CASES[name]
    model, x = case.model(), case.examples(2)
    later = x.clone()
    later[:, 4] = x[:, 4] + 1 if case.num_tokens is None else (x[:, 4] + 1) % case.num_tokens
    before, after = model(x), model(later)
    torch.testing.assert_close(before[:, :4], after[:, :4], atol=1e-6, rtol=1e-5)
    assert not torch.allclose(before[:, 4:], after[:, 4:], atol=1e-4)


def test_the_lstm_is_torchs():
    model = CASES["lstm of numbers"].model()
    reference = nn.LSTM(2, 5, num_layers=2, batch_first=True)
    with torch.no_grad():
        for number, layer in enumerate(model.layers):
            getattr(reference, f"weight_ih_l{number}").copy_(layer.ih.weight)
            getattr(reference, f"weight_hh_l{number}").copy_(layer.hh.weight)
            getattr(reference, f"bias_ih_l{number}").copy_(layer.ih.bias)
            getattr(reference, f"bias_hh_l{number}").zero_()
    x = CASES["lstm of numbers"].examples(3)
    expected = reference(x)[0]
    torch.testing.assert_close(model.layers(x), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(GradSampleModule(model.layers)(x), expected, atol=1e-6, rtol=1e-5)


def test_dropout_is_for_training_only():
    model = tabular_mlp(input_shape=(5,), num_outputs=2, hidden=[50], activation="silu", dropout=0.5)
    x = torch.ones(1, 5)
    assert not torch.equal(model(x), model(x))
    assert torch.equal(model.eval()(x), model(x))


@every_case
def test_the_callers_seed_decides_the_weights(case):
    def weights(seed):
        return torch.cat([p.flatten() for p in case.model(seed).parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_public_model_names_exist():
    assert all(hasattr(fedpriv.models, name) for name in fedpriv.models.__all__)
