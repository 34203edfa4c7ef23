"""Who is clipped: by client and by sensitive group, from the clients table."""

import numpy as np
import pytest

from fedpriv.data import Dataset, Examples, federate
from fedpriv.evaluation import ClipRates, deciles_by_size, training_examples

OWNERS = np.array([0, 0, 0, 1, 1, 2])
SEX = np.array([0, 0, 1, 1, 1, 0])


@pytest.fixture
def data():
    dataset = Dataset(
        train=Examples(np.zeros((6, 1), np.float32), np.zeros(6, np.int64)),
        test=Examples(np.zeros((1, 1), np.float32), np.zeros(1, np.int64)),
        num_classes=2,
        groups={"sex": np.array([*SEX, 0])},
        group_names={"sex": ("Female", "Male")},
    )
    return federate(dataset, OWNERS, num_clients=4, min_examples=0)


def rates(data, clients, **columns):
    found = ClipRates(data)
    half = len(clients) // 2
    for part in (slice(0, half), slice(half, None)):  # a table comes in blocks
        block = {name: np.asarray(values, float)[part] for name, values in columns.items()}
        found.add(np.asarray(clients)[part], block)
    return found


def test_groups_are_counted_client_by_client(data):
    assert training_examples(data, attribute="sex").tolist() == [[2, 1], [0, 2], [1, 0], [0, 0]]


def test_at_client_level_an_example_is_clipped_with_its_client(data):
    found = rates(data, [0, 1, 0, 2], diagnostic_clipped=[1, 0, 0, np.nan])
    assert found.by_client().tolist() == pytest.approx([0.5, 0.0, np.nan, np.nan], nan_ok=True)
    # Female: client 0's two examples, twice; Male: its one, twice, and client 1's two
    assert found.by_group("sex") == pytest.approx({"Female": 2 / 4, "Male": 1 / 4})


def test_at_example_level_shares_are_of_gradients(data):
    label, seen = "diagnostic_clipped_examples_sex_", "diagnostic_examples_sex_"
    found = rates(
        data,
        [0, 1, 0, 1],
        diagnostic_clipped=[np.nan] * 4,
        diagnostic_clipped_examples=[0.5, 1.0, 0.0, np.nan],
        **{f"{label}Female": [1.0, np.nan, 0.25, np.nan], f"{seen}Female": [1, 0, 4, 0]},
        **{f"{label}Male": [0.0, 1.0, np.nan, np.nan], f"{seen}Male": [1, 2, 0, 0]},
    )
    assert found.by_client()[:3].tolist() == pytest.approx([0.25, 1.0, np.nan], nan_ok=True)
    assert found.by_group("sex") == pytest.approx({"Female": 2 / 5, "Male": 2 / 3})


def test_what_was_not_measured_is_not_known(data):
    found = rates(data, [0, 1])
    assert np.isnan(found.by_client()).all()
    assert found.by_group("sex") == {"Female": None, "Male": None}


def test_deciles_are_means_of_tenths_by_size():
    sizes = np.arange(20)[::-1]
    accuracy = np.where(sizes == 0, np.nan, sizes / 20)
    found = deciles_by_size({"accuracy": accuracy, "nothing": np.full(20, np.nan)}, sizes)
    assert found["clients"] == [2.0] * 10
    assert found["examples"] == [0.5 + 2 * n for n in range(10)]
    assert found["accuracy"] == pytest.approx([0.05, *((0.5 + 2 * n) / 20 for n in range(1, 10))])
    assert found["nothing"] == [None] * 10
    assert deciles_by_size({}, sizes[:9]) == {}
