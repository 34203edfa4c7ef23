import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus import GradSampleModule
from safetensors.torch import load_file, save_file
from torch import nn

from fedpriv.errors import ConfigError, DataError
from fedpriv.models import (
    ParameterLayout,
    adapt,
    add_lora,
    freeze_except,
    lenet,
    load_weights,
    lstm,
    merge_lora,
    mlp,
    transformer,
)
from fedpriv.models.lora import LoraLinear


def model(seed=0):
    torch.manual_seed(seed)
    return mlp(input_shape=(4,), num_outputs=3, hidden=[5])


def adapted(module, **changes):
    plain = {"init": None, "trainable": None, "lora_rank": None, "lora_alpha": 4.0, "lora_layers": ["*"]}
    return adapt(module, **plain | changes)


def learns(module):
    return [name for name, parameter in module.named_parameters() if parameter.requires_grad]


def same_weights(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.fixture
def saved(tmp_path):
    def save(tensors, name="init.safetensors"):
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, tmp_path / name)
        return tmp_path / name

    return save


class TestLoadingWeights:
    def test_a_whole_file_gives_the_same_model(self, saved):
        other = model(1)
        assert load_weights(other, saved(model().state_dict())) == ()
        assert same_weights(other, model())

    def test_a_backbone_without_its_head_leaves_the_head(self, saved):
        backbone = {name: t for name, t in model().state_dict().items() if "hidden" in name}
        other = model(1)
        assert load_weights(other, saved(backbone)) == ("output.weight", "output.bias")
        assert torch.equal(other.hidden1.weight, model().hidden1.weight)
        assert torch.equal(other.output.weight, model(1).output.weight)

    def test_half_precision_is_widened(self, saved):
        other = model(1)
        load_weights(other, saved({name: t.half() for name, t in model().state_dict().items()}))
        assert other.output.weight.dtype == torch.float32
        torch.testing.assert_close(other.output.weight, model().output.weight, atol=1e-3, rtol=0)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"fc9.weight": torch.zeros(2)}, r"no tensor fc9\.weight.*hidden1\.weight, hidden1\.bias"),
            ({"output.weight": torch.zeros(10, 5)}, r"output\.weight has shape \(10, 5\), in the model \(3, 5\)"),
            ({"output.bias": torch.zeros(3, dtype=torch.int64)}, r"output\.bias is torch\.int64"),
            ({"output.bias": torch.tensor([0.0, torch.nan, 0.0])}, "not finite"),
        ],
    )
    def test_a_file_that_does_not_fit_is_told_and_changes_nothing(self, saved, change, message):
        other = model(1)
        with pytest.raises(DataError, match=message):
            load_weights(other, saved(model().state_dict() | change))
        assert same_weights(other, model(1))

    def test_what_is_no_file_of_weights_is_told(self, tmp_path, saved):
        (tmp_path / "text").write_text("hello, these are no weights")
        (tmp_path / "empty").touch()
        torch.save(model().state_dict(), tmp_path / "pickle.pt")
        whole = saved(model().state_dict())
        (tmp_path / "torn").write_bytes(whole.read_bytes()[:-7])
        for name in ("text", "empty", "pickle.pt", "torn"):
            with pytest.raises(DataError, match="is no safetensors file"):
                load_weights(model(), tmp_path / name)
        with pytest.raises(DataError, match=r"no file .*missing.*model\.init"):
            load_weights(model(), tmp_path / "missing")
        with pytest.raises(DataError, match="cannot be read"):
            load_weights(model(), tmp_path)
        with pytest.raises(DataError, match="holds no tensors"):
            load_weights(model(), saved({}))


class TestFreezing:
    def test_only_what_matches_learns(self):
        module = lenet(input_shape=(1, 14, 14), num_outputs=3)
        freeze_except(module, ["fc2.*", "conv1.bias"])
        assert learns(module) == ["conv1.bias", "fc2.weight", "fc2.bias"]

    @pytest.mark.parametrize("pattern", ["fc3.*", "FC2.*", "fc2"])
    def test_a_pattern_without_a_match_lists_the_names(self, pattern):
        with pytest.raises(ConfigError, match=rf"{pattern[:3]}.* matches no parameter.*conv1\.weight, conv1\.bias"):
            freeze_except(lenet(input_shape=(1, 14, 14), num_outputs=3), ["fc1.*", pattern])

    @settings(deadline=None, max_examples=40)
    @given(st.sets(st.sampled_from(list(model().state_dict())), min_size=1), st.integers(0, 1000))
    def test_frozen_parameters_are_no_part_of_the_vector_and_never_move(self, chosen, seed):
        module = model()
        freeze_except(module, sorted(chosen))
        layout = ParameterLayout.of(module)
        assert set(layout.names) == chosen
        vector = torch.randn(layout.size, generator=torch.Generator().manual_seed(seed), dtype=torch.float32).double()
        layout.load_into(module, vector)
        assert torch.equal(layout.from_module(module), vector)
        frozen = [name for name in model().state_dict() if name not in chosen]
        assert all(torch.equal(module.state_dict()[name], model().state_dict()[name]) for name in frozen)

    def test_per_example_gradients_are_those_of_what_learns(self):
        module = model()
        freeze_except(module, ["output.*"])
        GradSampleModule(module)(torch.ones(2, 4)).sum().backward()
        assert [name for name, p in module.named_parameters() if getattr(p, "grad_sample", None) is not None] == [
            "output.weight",
            "output.bias",
        ]


class TestLora:
    def test_adapters_change_nothing_at_first_and_alone_learn(self):
        module, x = model(), torch.randn(6, 4)
        before = module(x)
        add_lora(module, rank=2, alpha=4.0, patterns=["hidden*"])
        assert torch.equal(module(x), before)
        assert learns(module) == ["hidden1.lora_down.weight", "hidden1.lora_up.weight"]
        assert ParameterLayout.of(module).size == 2 * (4 + 5)

    def test_the_update_is_alpha_over_rank_times_the_product(self):
        module = LoraLinear(base=nn.Linear(1, 1, bias=False), rank=2, alpha=3.0)
        with torch.no_grad():
            module.base.weight.fill_(10)
            module.lora_down.weight.copy_(torch.tensor([[2.0], [1.0]]))
            module.lora_up.weight.copy_(torch.tensor([[5.0, 7.0]]))
        assert module(torch.ones(1, 1)).item() == 10 + 3 / 2 * (5 * 2 + 7 * 1)
        assert module.weight.item() == module(torch.ones(1, 1)).item()

    @pytest.mark.parametrize(
        ("module", "x"),
        [
            (model(), torch.randn(3, 4)),
            (
                lstm(
                    input_shape=(6, 2), num_outputs=3, num_tokens=None,
                    embedding=1, hidden=4, layers=2, per_position=True,
                ),
                torch.randn(3, 6, 2),
            ),
            (
                transformer(
                    input_shape=(6, 2), num_outputs=3, num_tokens=None,
                    width=8, heads=2, layers=1, per_position=False,
                ),
                torch.randn(3, 6, 2),
            ),
        ],
        ids=["mlp", "lstm", "transformer"],
    )  # fmt: skip
    def test_per_example_gradients_are_those_of_one_by_one(self, module, x):
        module = copy.deepcopy(module)
        add_lora(module, rank=2, alpha=4.0, patterns=["*"])
        trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
        for parameter in trained.values():
            nn.init.normal_(parameter)
        alone = [torch.autograd.grad(module(e[None]).sin().sum(), list(trained.values())) for e in x]
        GradSampleModule(module, loss_reduction="sum")(x).sin().sum().backward()
        for name, *expected in zip(trained, *alone, strict=True):
            torch.testing.assert_close(trained[name].grad_sample, torch.stack(expected), atol=1e-4, rtol=1e-3)

    def test_merged_adapters_compute_the_same_under_the_plain_names(self):
        module, x = model(), torch.randn(6, 4)
        add_lora(module, rank=2, alpha=4.0, patterns=["*"])
        nn.init.normal_(module.output.lora_up.weight)
        expected = module(x)
        merge_lora(module)
        torch.testing.assert_close(module(x), expected, atol=1e-5, rtol=1e-5)
        assert list(module.state_dict()) == list(model().state_dict())

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"patterns": ["conv*"]}, "conv.* matches no Linear layer of the model. It has: hidden1, output"),
            ({"patterns": []}, "needs a Linear layer"),
            ({"rank": 0}, "rank of at least 1"),
            ({"alpha": 0.0}, "positive alpha"),
        ],
    )
    def test_what_cannot_be_is_told(self, changes, message):
        with pytest.raises(ConfigError, match=message):
            add_lora(model(), **{"rank": 2, "alpha": 4.0, "patterns": ["*"]} | changes)

    def test_a_model_without_linear_layers_is_told(self):
        with pytest.raises(ConfigError, match="It has: none"):
            add_lora(nn.Sequential(nn.Conv2d(1, 1, 3)), rank=2, alpha=4.0, patterns=["*"])


class TestAdapt:
    def test_nothing_asked_for_changes_nothing(self):
        module = model()
        assert adapted(module) == ()
        assert same_weights(module, model())
        assert learns(module) == list(model().state_dict())

    def test_weights_then_adapters_then_what_learns_beside_them(self, saved):
        module = model(1)
        missing = adapted(
            module,
            init=saved({"hidden1.weight": model().hidden1.weight}),
            lora_rank=2,
            lora_layers=["hidden1"],
            trainable=["output.*"],
        )
        assert missing == ("hidden1.bias", "output.weight", "output.bias")
        assert torch.equal(module.hidden1.base.weight, model().hidden1.weight)
        assert learns(module) == [
            "hidden1.lora_down.weight", "hidden1.lora_up.weight", "output.weight", "output.bias",
        ]  # fmt: skip

    def test_what_a_lora_run_saves_loads_into_the_same_model(self, saved):
        first = model()
        adapted(first, lora_rank=2)
        nn.init.normal_(first.output.lora_up.weight)
        path = saved(first.state_dict())
        second = model(1)
        assert adapted(second, init=path, lora_rank=2) == ()
        assert same_weights(first, second)
        assert load_file(path).keys() == second.state_dict().keys()
        with pytest.raises(ConfigError, match=r"holds LoRA adapters; set model\.lora_rank"):
            adapted(model(1), init=path)
        with pytest.raises(DataError, match=r"lora_.* has shape .*Set model\.lora_rank"):
            adapted(model(1), init=path, lora_rank=3)

    def test_torchs_generator_decides_the_adapters(self):
        def weights(seed):
            module = model()
            torch.manual_seed(seed)
            adapted(module, lora_rank=2)
            return ParameterLayout.of(module).from_module(module)

        assert torch.equal(weights(1), weights(1))
        assert not torch.equal(weights(1), weights(2))
