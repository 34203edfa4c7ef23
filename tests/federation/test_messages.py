"""The wire format: whatever goes in comes out, in every dtype and shape, with nobody there as well."""

import itertools
import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.federation import EvaluateReply, EvaluateTask, TrainReply, TrainTask

clients = st.integers(0, 2**62)
names = st.text("abc_./0123", min_size=1, max_size=8)
dtypes = st.sampled_from(
    [torch.float32, torch.float64, torch.float16, torch.int64, torch.int32, torch.uint8, torch.bool]
)
texts = st.text("aé/\n\0😀 ", max_size=20)
shapes = st.lists(st.integers(0, 3), max_size=3)
floats = st.floats(width=64)


@st.composite
def tensors(draw):
    shape, dtype = draw(shapes), draw(dtypes)
    size = math.prod(shape)
    values = torch.tensor(draw(st.lists(st.integers(0, 100), min_size=size, max_size=size)))
    tensor = values.reshape(shape).to(dtype)
    if dtype.is_floating_point and size:
        tensor.view(-1)[0] = draw(st.sampled_from([math.nan, math.inf, -0.0, 1.5]))
    return tensor.T if tensor.dim() == 2 and draw(st.booleans()) else tensor


def states_of(ids):
    if not ids:
        return st.just({})
    return st.dictionaries(st.sampled_from(ids), st.dictionaries(names, tensors(), min_size=1, max_size=2), max_size=2)


def same(left, right):
    return (
        left.dtype == right.dtype
        and left.shape == right.shape
        and np.array_equal(np.asarray(left), np.asarray(right), equal_nan=np.asarray(left).dtype.kind == "f")
    )


def same_named(left, right):
    return left.keys() == right.keys() and all(same(left[name], right[name]) for name in left)


def same_states(left, right):
    return left.keys() == right.keys() and all(same_named(left[k], right[k]) for k in left)


def aligned(elements, size, dtype):
    return st.lists(elements, min_size=size, max_size=size).map(lambda values: np.array(values, dtype=dtype))


@st.composite
def train_tasks(draw):
    ids = draw(st.lists(clients, unique=True, max_size=7))
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(ids) - 1)), max_size=3))) if len(ids) > 1 else []
    edges = [0, *cuts, len(ids)]
    chunks = tuple(tuple(ids[a:b]) for a, b in itertools.pairwise(edges)) if ids else ()
    return TrainTask(
        round=draw(st.integers(1, 2**40)),
        attempt=draw(st.integers(0, 1000)),
        parameters=draw(st.dictionaries(names, tensors(), max_size=3)),
        broadcast=draw(st.dictionaries(names, tensors(), max_size=2)),
        told=draw(st.dictionaries(names, tensors(), max_size=2)),
        chunk_ids=tuple(draw(st.permutations(range(len(chunks))))),
        chunks=chunks,
        noise_multipliers=draw(aligned(floats, len(ids), np.float64)),
        states=draw(states_of(ids)),
        each=draw(st.booleans()),
    )


@st.composite
def train_replies(draw):
    ids = draw(st.lists(clients, unique=True, max_size=5))
    rows, size = draw(st.integers(0, 4)), draw(st.integers(1, 4))
    integers = draw(st.booleans())
    element, dtype = (st.integers(-(2**62), 2**62), np.int64) if integers else (floats, np.float64)
    return TrainReply(
        chunk_ids=tuple(range(rows)),
        chunk_sizes=(1,) * rows,
        clients=np.array(ids, dtype=np.int64),
        status=draw(aligned(st.integers(0, 2), len(ids), np.int64)),
        values=torch.from_numpy(draw(aligned(element, rows * size, dtype)).reshape(rows, size)),
        metrics=draw(st.dictionaries(names, aligned(floats, len(ids), np.float64), max_size=3)),
        states=draw(states_of(ids)),
        failures=draw(st.dictionaries(st.sampled_from(ids), texts, max_size=2)) if ids else {},
    )


@settings(max_examples=80)
@given(train_tasks())
def test_train_task_survives_the_wire(task):
    back = TrainTask.from_record(task.to_record())
    assert (back.round, back.attempt, back.each) == (task.round, task.attempt, task.each)
    assert (back.chunk_ids, back.chunks, back.clients) == (task.chunk_ids, task.chunks, task.clients)
    assert same(back.noise_multipliers, task.noise_multipliers)
    assert same_named(back.parameters, task.parameters)
    assert same_states(back.states, task.states)


@settings(max_examples=80)
@given(train_replies())
def test_train_reply_survives_the_wire(reply):
    back = TrainReply.from_record(reply.to_record())
    assert (back.chunk_ids, back.chunk_sizes) == (reply.chunk_ids, reply.chunk_sizes)
    assert same(back.clients, reply.clients)
    assert same(back.status, reply.status)
    assert same(back.values, reply.values)
    assert same_named(back.metrics, reply.metrics)
    assert same_states(back.states, reply.states)
    assert back.failures == reply.failures


@given(st.data(), st.lists(clients, unique=True, max_size=5), st.dictionaries(names, tensors(), max_size=2))
def test_evaluate_task_survives_the_wire(data, ids, parameters):
    states = data.draw(states_of(ids))
    task = EvaluateTask(parameters=parameters, clients=tuple(ids), states=states)
    back = EvaluateTask.from_record(task.to_record())
    assert back.clients == tuple(ids)
    assert same_named(back.parameters, parameters)
    assert same_states(back.states, states)


@given(st.lists(clients, max_size=5))
def test_evaluate_reply_survives_the_wire(ids):
    metrics = {name: np.arange(len(ids), dtype=np.float64) for name in ("examples", "accuracy", "loss")}
    reply = EvaluateReply(clients=np.array(ids, dtype=np.int64), metrics=metrics)
    back = EvaluateReply.from_record(reply.to_record())
    assert same(back.clients, reply.clients)
    assert same_named(back.metrics, metrics)
