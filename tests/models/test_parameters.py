import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fedpriv.errors import ConfigError, DataError
from fedpriv.models import ParameterLayout

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


class Odd(nn.Module):
    """0-d, bfloat16, frozen and shared parameters, float and integer buffers, in a telling order."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("steps", torch.tensor(3))
        self.norm = nn.BatchNorm1d(3)
        self.frozen = nn.Parameter(torch.ones(4), requires_grad=False)
        self.matrix = nn.Parameter(torch.arange(6, dtype=torch.bfloat16).reshape(2, 3))
        self.first = nn.Linear(2, 2, bias=False)
        self.second = self.first


def test_trainable_parameters_come_in_state_dict_order():
    module = Odd()
    layout = ParameterLayout.of(module)
    assert layout.names == ("scale", "matrix", "norm.weight", "norm.bias", "first.weight")
    assert layout.names == tuple(name for name in module.state_dict() if name in layout.names)
    assert layout.shapes == ((), (2, 3), (3,), (3,), (2, 2))
    assert layout.dtypes[:3] == (torch.float32, torch.bfloat16, torch.float32)
    assert layout.size == 1 + 6 + 3 + 3 + 4


def test_a_whole_state_dict_flattens_without_its_buffers():
    module = Odd()
    layout = ParameterLayout.of(module)
    vector = layout.flatten(module.state_dict())
    assert vector.dtype == torch.float64
    assert vector[:7].tolist() == [2, 0, 1, 2, 3, 4, 5]
    assert torch.equal(vector, layout.from_module(module))
    assert not vector.requires_grad


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 4), max_size=3), st.sampled_from(DTYPES)), min_size=1, max_size=5
    ),
    st.integers(0, 2**31),
)
def test_flatten_and_unflatten_are_inverse_to_the_bit(parameters, seed):
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        f"p{i}": torch.randn(shape, generator=generator).to(dtype)
        for i, (shape, dtype) in enumerate(parameters)
    }
    layout = ParameterLayout(
        names=tuple(tensors),
        shapes=tuple(tuple(t.shape) for t in tensors.values()),
        dtypes=tuple(t.dtype for t in tensors.values()),
    )
    vector = layout.flatten(tensors)
    assert vector.shape == (layout.size,)
    back = layout.unflatten(vector)
    assert list(back) == list(tensors)
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert back[name].shape == tensor.shape
        assert torch.equal(back[name], tensor)


def test_unflattened_tensors_share_no_memory_with_the_vector():
    layout = ParameterLayout(names=("p",), shapes=((2,),), dtypes=(torch.float64,))
    vector = torch.ones(2, dtype=torch.float64)
    layout.unflatten(vector)["p"].zero_()
    assert vector.tolist() == [1, 1]


def test_loading_writes_in_place_and_leaves_buffers_and_frozen_parameters():
    module = Odd()
    layout = ParameterLayout.of(module)
    weight, scale = module.first.weight, module.scale
    layout.load_into(module, torch.arange(layout.size, dtype=torch.float64))
    assert module.first.weight is weight
    assert module.scale is scale
    assert module.second.weight.tolist() == [[13, 14], [15, 16]]
    assert module.frozen.tolist() == [1] * 4
    assert module.steps == 3
    assert torch.equal(layout.from_module(module), torch.arange(layout.size, dtype=torch.float64))
    assert module.scale.requires_grad


def test_parameters_that_stay_at_the_client_are_left_out_and_left_alone():
    module = Odd()
    layout = ParameterLayout.of(module, without=["norm.*", "scale"])
    assert layout.names == ("matrix", "first.weight")
    assert layout.flatten(module.state_dict()).shape == (10,)
    layout.load_into(module, torch.full((10,), 7.0, dtype=torch.float64))
    assert module.matrix.unique().tolist() == [7]
    assert module.scale == 2
    assert module.norm.weight.tolist() == [1] * 3


@pytest.mark.parametrize(
    ("without", "message"),
    [(["head.*"], "head.* matches no trainable parameter.*scale, matrix"), (["frozen"], "frozen matches no"),
     (["*"], "nothing is left")],
)  # fmt: skip
def test_leaving_out_nothing_or_everything_is_told(without, message):
    with pytest.raises(ConfigError, match=message):
        ParameterLayout.of(Odd(), without=without)


@given(st.sets(st.sampled_from(ParameterLayout.of(Odd()).names), max_size=4))
def test_what_is_shared_and_what_is_left_out_make_up_the_whole(left_out):
    module = Odd()
    whole = ParameterLayout.of(module).unflatten(ParameterLayout.of(module).from_module(module))
    layout = ParameterLayout.of(module, without=sorted(left_out))
    shared = layout.unflatten(layout.from_module(module))
    assert [*shared] == [name for name in whole if name not in left_out]
    assert all(torch.equal(shared[name], whole[name]) for name in shared)


def test_what_does_not_fit_is_told():
    layout = ParameterLayout.of(Odd())
    tensors = Odd().state_dict()
    with pytest.raises(DataError, match=r"matrix has shape \(3, 2\).*\(2, 3\)"):
        layout.flatten(tensors | {"matrix": torch.zeros(3, 2)})
    with pytest.raises(DataError, match="scale is missing"):
        layout.flatten({name: t for name, t in tensors.items() if name != "scale"})
    with pytest.raises(DataError, match=r"\(16,\).*17"):
        layout.unflatten(torch.zeros(16))
    with pytest.raises(DataError, match="not those of this layout"):
        layout.load_into(nn.Linear(16, 1), torch.zeros(17))


def test_a_model_that_cannot_be_trained_is_refused():
    with pytest.raises(ConfigError, match="ReLU has no trainable parameters"):
        ParameterLayout.of(nn.ReLU())
    with pytest.raises(ConfigError, match=r"weight has dtype torch\.complex64"):
        ParameterLayout.of(nn.Linear(2, 2, dtype=torch.complex64))


def test_layouts_pickle_compare_and_hash():
    layout = ParameterLayout.of(Odd())
    assert pickle.loads(pickle.dumps(layout)) == layout
    assert hash(layout) == hash(ParameterLayout.of(Odd()))
