import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.data import ClientIndex, Dataset, Examples, FederatedData, Normalisation, federate
from fedpriv.errors import ConfigError, DataError

IDENTITY = Normalisation(scale=1.0, mean=0.0, std=1.0)


def make_dataset(n=12, num_test=3, **changes):
    rng = np.random.default_rng(0)
    fields = {
        "train": Examples(rng.integers(0, 256, (n, 2, 3, 3), dtype=np.uint8), np.arange(n) % 4),
        "test": Examples(rng.integers(0, 256, (num_test, 2, 3, 3), dtype=np.uint8), np.arange(num_test) % 4),
        "users": None,
        "num_classes": 4,
        "normalisation": IDENTITY,
        "groups": {},
        "public": False,
    }
    return Dataset(**(fields | changes))


def make_federated(
    assignment=(0, 2, 0, 1, -1, 2, 2, 0, 1, 1, 2, 0), dataset=None, **changes
) -> FederatedData:
    arguments = {"num_clients": 3, "min_examples": 1} | changes
    return federate(dataset or make_dataset(), np.asarray(assignment), **arguments)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(-1, 6), min_size=1, max_size=60))
def test_every_example_goes_to_its_client_and_to_no_other(assignment):
    index = ClientIndex.of(np.asarray(assignment), 7)
    for client in range(7):
        assert index[client].tolist() == [i for i, c in enumerate(assignment) if c == client]
    assert index.sizes.tolist() == [assignment.count(client) for client in range(7)]


def test_a_client_gets_its_own_examples_normalised_in_fresh_memory():
    dataset = make_dataset(normalisation=Normalisation(scale=0.5, mean=(1.0, 2.0), std=(4.0, 8.0)))
    data = make_federated(dataset=dataset)
    x, y = data.client(0)
    rows = [0, 2, 7, 11]
    expected = (dataset.train.x[rows] * 0.5 - np.array([1, 2]).reshape(2, 1, 1)) / np.array([4, 8]).reshape(
        2, 1, 1
    )
    np.testing.assert_allclose(x.numpy(), expected, rtol=1e-6)
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
    assert y.tolist() == dataset.train.y[rows].tolist()
    x.zero_()
    y.zero_()
    assert torch.equal(data.client(0)[1], torch.from_numpy(dataset.train.y[rows]))
    np.testing.assert_allclose(data.client(0)[0].numpy(), expected, rtol=1e-6)


def test_per_feature_constants_standardise_vectors():
    x = np.array([[1.0, 10.0], [3.0, 30.0]])
    normalised = Normalisation(scale=1.0, mean=[2.0, 20.0], std=[1.0, 10.0]).apply(x)
    assert normalised.tolist() == [[-1.0, -1.0], [1.0, 1.0]]
    assert normalised.dtype == np.float32


@pytest.mark.parametrize("dtype", ["bool", "u1", "i2", "u4", "i8", "f2", "f4", "f8"])
def test_normalisation_takes_every_stored_dtype_and_never_aliases_it(dtype):
    x = np.ones((2, 3), dtype)
    normalised = IDENTITY.apply(x)
    assert normalised.tolist() == [[1.0] * 3] * 2
    assert not np.shares_memory(normalised, x)


@pytest.mark.parametrize("constants", [{"std": 0.0}, {"std": (1.0, -1.0)}, {"mean": float("nan")}])
def test_unusable_constants_are_refused(constants):
    with pytest.raises(DataError, match="std > 0"):
        Normalisation(**({"scale": 1.0, "mean": 0.0, "std": 1.0} | constants))


def test_constants_that_do_not_fit_the_examples_are_refused():
    with pytest.raises(DataError, match=r"data.mean has 3 values.*\(2, 3, 3\)"):
        make_dataset(normalisation=Normalisation(scale=1.0, mean=(0.0, 0.0, 0.0), std=1.0))


def test_test_batches_cover_the_test_examples_in_order():
    data = make_federated(dataset=make_dataset(num_test=7))
    batches = list(data.test_batches(3))
    assert [len(y) for _, y in batches] == [3, 3, 1]
    assert torch.equal(torch.cat([y for _, y in batches]), torch.from_numpy(data.test.y))
    np.testing.assert_array_equal(torch.cat([x for x, _ in batches]).numpy(), data.test.x.astype(np.float32))


def test_sizes_population_and_unused_examples():
    data = make_federated(held_out_clients=[2])
    assert data.num_clients == 3
    assert data.client_sizes.tolist() == [4, 3, 4]
    assert data.client_sizes.dtype == np.int64
    assert data.population_ids.tolist() == [0, 1]
    assert data.input_shape == (2, 3, 3)
    assert 4 not in data.indices


def test_a_holdout_is_kept_from_training():
    holdout = np.zeros(12, np.bool_)
    holdout[[2, 3]] = True
    data = make_federated(holdout=holdout)
    assert data.client_sizes.tolist() == [3, 2, 4]
    assert data.client_holdout(0)[1].tolist() == [2]
    assert data.client_holdout(1)[1].tolist() == [3]
    assert data.client_holdout(2)[0].shape == (0, 2, 3, 3)
    assert make_federated().client_holdout(0)[0].shape == (0, 2, 3, 3)


def test_client_ids_outside_the_population_are_refused():
    with pytest.raises(IndexError):
        make_federated().client(-1)
    with pytest.raises(IndexError):
        make_federated().client(3)


def test_empty_clients_are_an_error_unless_allowed():
    with pytest.raises(ConfigError, match=r"1 of 4 clients hold fewer than 1.*client 3 holds 0.*num_clients"):
        make_federated(num_clients=4)
    data = make_federated(num_clients=4, min_examples=0)
    assert data.client(3)[0].shape == (0, 2, 3, 3)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ([0, 1], "one client id"),
        (np.zeros(12), "one client id"),
        ([0] * 11 + [3], "from 0 to 3 for 3"),
        ([0] * 11 + [-2], "from -2 to 0"),
    ],
)
def test_an_assignment_that_does_not_fit_is_refused(assignment, message):
    with pytest.raises(ConfigError, match=message):
        make_federated(assignment, min_examples=0)


def test_the_number_of_clients_defaults_to_those_named():
    assert make_federated(num_clients=None).num_clients == 3


FINGERPRINT_CHANGES = {
    "feature": lambda d: {
        "train": Examples(np.where(np.arange(12).reshape(12, 1, 1, 1) == 5, 0, d.train.x), d.train.y)
    },
    "dtype": lambda d: {"train": Examples(d.train.x.astype(np.uint16), d.train.y)},
    "label": lambda d: {"train": Examples(d.train.x, np.roll(d.train.y, 1))},
    "test": lambda d: {"test": Examples(d.test.x, d.test.y[::-1])},
    "users": lambda d: {"users": np.arange(12)},
    "normalisation": lambda d: {"normalisation": Normalisation(scale=1.0, mean=0.0, std=2.0)},
    "groups": lambda d: {"groups": {"sex": np.zeros(15, np.int64)}},
    "public": lambda d: {"public": True},
    "classes": lambda d: {"num_classes": 5},
}


@pytest.mark.parametrize("change", FINGERPRINT_CHANGES)
def test_the_fingerprint_sees_every_change_of_the_data(change):
    other = make_dataset(**FINGERPRINT_CHANGES[change](make_dataset()))
    assert make_federated(dataset=other).fingerprint != make_federated().fingerprint


def test_the_fingerprint_sees_the_division():
    plain = make_federated().fingerprint
    assert plain != make_federated((2, 0, 0, 1, -1, 2, 2, 0, 1, 1, 2, 0)).fingerprint
    assert plain != make_federated(held_out_clients=[1]).fingerprint
    assert plain != make_federated(holdout=np.arange(12) == 0).fingerprint


def test_the_fingerprint_ignores_memory_layout():
    dataset = make_dataset()
    strided = Examples(np.asfortranarray(dataset.train.x), dataset.train.y)
    assert make_federated(dataset=make_dataset(train=strided)).fingerprint == make_federated().fingerprint
    assert len(make_federated().fingerprint) == 64


def test_data_survives_pickling_at_little_more_than_its_arrays():
    data = make_federated(dataset=make_dataset(n=2000, users=np.arange(2000)), assignment=np.arange(2000) % 3)
    arrays = sum(
        a.nbytes for a in (data.train.x, data.train.y, data.test.x, data.test.y, data.offsets, data.indices)
    )
    blob = pickle.dumps(data)
    assert len(blob) < arrays + data.users.nbytes + 4096
    copy = pickle.loads(blob)
    assert copy.fingerprint == data.fingerprint
    assert torch.equal(copy.client(1)[0], data.client(1)[0])


def test_a_million_clients_cost_one_integer_each():
    n = 1_000_000
    dataset = make_dataset(train=Examples(np.zeros((n, 1), np.uint8), np.zeros(n, np.int64)),
                           test=Examples(np.zeros((1, 1), np.uint8), np.zeros(1, np.int64)))  # fmt: skip
    data = federate(dataset, np.arange(n)[::-1], num_clients=n, min_examples=1)
    assert data.offsets.nbytes + data.indices.nbytes == 8 * (n + 1) + 8 * n
    assert data.client(17)[1].shape == (1,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": Examples(np.zeros((2, 2, 3, 3)), np.zeros(3, np.int64))}, "labels have 3 entries for 2"),
        ({"train": Examples(np.full((2, 2, 3, 3), np.nan), np.zeros(2, np.int64))}, "NaN or infinity.*row 0"),
        ({"train": Examples(np.zeros((0, 2, 3, 3)), np.zeros(0, np.int64))}, "at least one example"),
        ({"train": Examples(np.zeros((2, 2, 3, 3)), np.array([0, 4]))}, "up to 4, but there are 4 classes"),
        ({"train": Examples(np.zeros((2, 2, 3, 3)), np.array([0, -1]))}, "negative"),
        ({"test": Examples(np.zeros((2, 5)), np.zeros(2, np.int64))}, "test ones"),
        ({"users": np.arange(3)}, "user ids have 3 entries for 12"),
        ({"groups": {"sex": np.zeros(12)}}, "'sex' have 12 entries for 15"),
    ],
)  # fmt: skip
def test_a_dataset_that_contradicts_itself_is_refused(changes, message):
    with pytest.raises(DataError, match=message):
        make_dataset(**changes)
