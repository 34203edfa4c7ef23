import numpy as np
import pytest
from rich.console import Console

from fedpriv.data import Dataset, Examples, Normalisation, describe, draw_partition, federate
from fedpriv.errors import DataError


def make_data(num_clients, num_classes=3, min_examples=0, users=None):
    n = 4 * num_clients
    dataset = Dataset(
        train=Examples(np.zeros((n, 1, 2, 2), np.uint8), np.arange(n) % num_classes),
        test=Examples(np.zeros((5, 1, 2, 2), np.uint8), np.zeros(5, np.int64)),
        users=users,
        num_classes=num_classes,
        normalisation=Normalisation(scale=1.0, mean=0.0, std=1.0),
        groups={},
        public=False,
    )
    assignment = np.minimum(np.arange(n) // 4, num_clients - 2)  # the last client is empty
    assignment[0] = -1
    return federate(dataset, assignment, num_clients=num_clients, min_examples=min_examples)


def printed(description):
    console = Console(width=100)
    with console.capture() as captured:
        console.print(description)
    return captured.get()


def test_counts_are_those_of_the_data():
    found = describe(make_data(4, users=np.arange(16) // 3))
    assert (found.num_clients, found.num_train, found.num_unused, found.num_test) == (4, 15, 1, 5)
    assert (found.size_min, found.size_median, found.size_max) == (0, 3.5, 8)
    assert (len(found.labels), found.num_users, found.input_shape, found.dtype) == (3, 6, (1, 2, 2), "uint8")
    assert found.label_mix.tolist() == [[1, 1, 1], [1, 2, 1], [3, 2, 3], [0, 0, 0]]


def test_the_table_shows_clients_sizes_and_labels():
    text = printed(describe(make_data(4)))
    assert "0 min, 3.5 median, 8 max" in text
    assert "15 (1 unused)" in text
    assert "1 x 2 x 2, uint8" in text
    assert "unknown" in text
    assert "│      2 │     8 │ 3 │ 2 │ 3 │" in text


def test_long_tables_are_cut_and_say_so():
    text = printed(describe(make_data(1000, num_classes=30)))
    assert "980 more clients" in text
    assert "others" in text
    assert len(text.splitlines()) < 50


@pytest.mark.slow
@pytest.mark.parametrize(("clients", "classes"), [(3, 3), (60, 15), (61, 3), (2000, 40)])
def test_the_picture_is_a_png_and_the_same_each_time(tmp_path, clients, classes):
    data = make_data(clients, num_classes=classes)
    draw_partition(data, tmp_path / "a.png")
    draw_partition(data, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_different_partitions_look_different(tmp_path):
    draw_partition(make_data(5), tmp_path / "a.png")
    draw_partition(make_data(6), tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()


def test_an_unwritable_picture_is_told(tmp_path):
    with pytest.raises(DataError, match="Cannot write the picture"):
        draw_partition(make_data(3), tmp_path / "missing" / "a.png")
