"""Datasets of Hugging Face's library, from disk; nothing is fetched."""

import io
import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"  # read when the library is imported

import numpy as np
import pytest
from PIL import Image

from fedpriv.data import sources
from fedpriv.errors import ConfigError, DataError

datasets = pytest.importorskip("datasets")


def load(folder, /, **changes):
    arguments = {
        "root": None, "path": str(folder), "name": None, "subset": None, "revision": None, "train_split": "train",
        "test_split": None, "features": ["a", "b"], "label": "label", "user": None, "channels": 1, "size": None,
        "test_fraction": 0.25, "test_by": "example", "public": False, "num_classes": None, "scale": 1.0, "mean": 0.0,
        "std": 1.0, "rng": np.random.default_rng(0),
    }  # fmt: skip
    return sources.huggingface(**(arguments | changes))


def columns(**changes):
    rows = range(8)
    return {
        "a": [float(row) for row in rows],
        "b": [-row for row in rows],
        "vector": [[row, row + 1, row + 2] for row in rows],
        "ragged": [[0] * (1 + row % 2) for row in rows],
        "text": ["x"] * 8,
        "label": [row % 2 for row in rows],
        "kind": [("dog", "cat")[row % 2] for row in rows],
        "who": ["ann", "ann", "bob", "bob", "cy", "cy", "dee", "dee"],
        "number": [10, 10, 20, 20, 30, 30, 40, 40],
    } | changes


@pytest.fixture
def save(tmp_path):
    def write(values=None, *, features=None, test=None):
        table = datasets.Dataset.from_dict(columns() if values is None else values, features=features)
        if test is not None:
            table = datasets.DatasetDict({"train": table, "test": datasets.Dataset.from_dict(test, features=features)})
        table.save_to_disk(tmp_path / "saved")
        return tmp_path / "saved"

    return write


def test_numeric_columns_are_features(save):
    data = load(save())
    assert (data.train.x.shape, len(data.test), data.num_classes) == ((6, 2), 2, 2)
    assert (data.train.x[:, 0] == -data.train.x[:, 1]).all()
    assert (data.train.x[:, 0] % 2 == data.train.y).all()
    assert data.users is None


def test_a_column_of_arrays_keeps_its_shape(save):
    data = load(save(), features="vector")
    assert data.train.x.shape == (6, 3)
    assert (data.train.x[:, 2] == data.train.x[:, 0] + 2).all()


@pytest.mark.parametrize("user", ["who", "number"])
def test_users_are_texts_or_numbers(save, user):
    data = load(save(), user=user)
    owner = (data.train.x[:, 0] // 2).astype(int)
    assert data.users.tolist() == (owner if user == "who" else 10 * owner + 10).tolist()


def test_labels_may_be_texts_in_the_order_of_their_names(save):
    data = load(save(), label="kind")
    assert data.train.y.tolist() == [1 - int(row) % 2 for row in data.train.x[:, 0]]  # cat 0, dog 1


def test_class_labels_say_how_many_there_are(save):
    kinds = datasets.ClassLabel(names=["no", "yes", "never"])
    features = datasets.Features({"a": datasets.Value("float32"), "label": kinds})
    data = load(save({"a": [0.0, 1.0] * 4, "label": [0, 1] * 4}, features=features), features=["a"])
    assert data.num_classes == 3
    assert (data.train.x[:, 0] == data.train.y).all()
    assert data.train.x.dtype == np.float32


def test_a_test_split_is_the_test(save):
    data = load(save(test={name: values[:3] for name, values in columns().items()}), test_split="test", label="kind")
    assert (len(data.train), data.test.x[:, 0].tolist(), data.test.y.tolist()) == (8, [0, 1, 2], [1, 0, 1])


def picture(value, shape=(4, 5)):
    file = io.BytesIO()
    Image.fromarray(np.full(shape, value, np.uint8)).save(file, format="png")
    return {"bytes": file.getvalue(), "path": None}


def images(pictures):
    return {"image": pictures, "label": [row % 2 for row in range(len(pictures))]}


PICTURES = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})


def test_images_are_decoded(save):
    folder = save(images([picture(row) for row in range(8)]), features=PICTURES)
    data = load(folder, features="image")
    assert (data.train.x.shape, data.train.x.dtype) == ((6, 1, 4, 5), np.uint8)
    assert (data.train.x[:, 0, 0, 0] % 2 == data.train.y).all()
    assert load(folder, features=["image"], channels=3, size=[2, 2]).train.x.shape == (6, 3, 2, 2)


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (picture(0, (4, 6)), r"image 3 is 4x6 .*image 0 is 4x5.*data\.size=\[4,5\]"),
        ({"bytes": b"no image", "path": None}, r"image 3 in 'image' cannot be read \(unknown format\)"),
        (None, r"image 3 in 'image' is missing"),
    ],
)
def test_odd_images_are_named(save, odd, message):
    pictures = [picture(row) for row in range(8)]
    pictures[3] = odd
    with pytest.raises(DataError, match=message):
        load(save(images(pictures), features=PICTURES), features="image")


@pytest.mark.parametrize(
    ("values", "changes", "error", "message"),
    [
        ({}, {"features": ["a", "c"]}, DataError, r"no column 'c' \(it has: a, b, .*set data\.features"),
        ({}, {"label": "z"}, DataError, r"no column 'z' .*set data\.label"),
        ({}, {"user": "z"}, DataError, r"no column 'z' .*set data\.user"),
        ({}, {"features": "text"}, DataError, r"column 'text' is not numeric"),
        ({}, {"features": "ragged"}, DataError, r"column 'ragged' is not numeric, has gaps, or its rows differ"),
        ({}, {"features": ["a", "vector"]}, DataError, r"'vector' is not numeric"),
        ({}, {"label": "number"}, DataError, r"'number' are not 0 \.\.\. K-1"),
        ({}, {"label": "vector"}, DataError, r"'vector' have shape \(8, 3\)"),
        ({}, {"user": "a"}, DataError, r"'a' have dtype float"),
        ({}, {"test_split": "test"}, DataError, r"is a single split: set data\.test_split=null"),
        ({"a": [1.0, None] * 4}, {}, DataError, r"column 'a' is not numeric, has gaps"),
        ({"kind": ["cat", None] * 4}, {"label": "kind"}, DataError, r"'kind' are not all texts"),
        ({"who": ["ann", None] * 4}, {"user": "who"}, DataError, r"'who' are not all texts"),
        ({"label": [1] * 8}, {}, DataError, r"are all 1, so there is nothing to learn"),
        ({}, {"features": []}, ConfigError, r"data\.features is empty"),
        ({}, {"path": None}, ConfigError, r"Set data\.path .* or data\.name"),
        ({}, {"name": "mnist"}, ConfigError, r"one of the two"),
        ({}, {"path": "nowhere"}, DataError, r"no folder nowhere"),
    ],
)
def test_tables_that_cannot_be_trained_on_are_told(save, values, changes, error, message):
    with pytest.raises(error, match=message):
        load(save(columns(**values)), **({"label": "label"} | changes))


def test_unknown_splits_and_test_labels_are_told(save):
    folder = save(test=columns(kind=["owl"] * 8))
    with pytest.raises(DataError, match=r"no split 'dev' \(it has: train, test\): set data\.test_split"):
        load(folder, test_split="dev")
    with pytest.raises(DataError, match=r"no split 'all' .*data\.train_split"):
        load(folder, train_split="all")
    with pytest.raises(DataError, match="test label 'owl' in 'kind' does not occur in training"):
        load(folder, label="kind", test_split="test")


def test_a_folder_that_holds_no_dataset_is_told(tmp_path):
    with pytest.raises(DataError, match=r"is no dataset that can be read: write it with Dataset\.save_to_disk"):
        load(tmp_path)


def test_without_a_network_a_name_is_told(monkeypatch):
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: (_ for _ in ()).throw(ConnectionError("offline")))
    with pytest.raises(DataError, match=r"some/thing could not be loaded .*data\.name.*\(offline\)"):
        load(None, path=None, name="some/thing")


def test_a_name_is_loaded_with_its_subset_and_revision(monkeypatch):
    asked = []

    def load_dataset(*args, **options):
        asked.append((args, options))
        return datasets.DatasetDict({"train": datasets.Dataset.from_dict(columns())})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert len(load(None, path=None, name="some/thing", subset="small", revision="abc").train) == 6
    assert asked == [(("some/thing", "small"), {"revision": "abc"})]


def test_without_the_library_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match=r"pip install 'fedpriv\[huggingface\]'"):
        load(tmp_path)
