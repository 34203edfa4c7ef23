"""Images in class folders, and tiles of sheets."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedpriv.data import sources
from fedpriv.errors import ConfigError, DataError

SHARED = Path(__file__).parents[3] / "shared" / "data"
CONSTANTS = {"public": False, "scale": 1.0, "mean": 0.0, "std": 1.0}


def rng():
    return np.random.default_rng(0)


def save(file, values):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(file)


def load_images(folder, /, **changes):
    arguments = {
        "root": None, "path": str(folder), "test_path": None, "user_folders": False, "user_pattern": None,
        "channels": 1, "size": None, "test_fraction": 0.25, "test_by": "example", "rng": rng(), **CONSTANTS,
    }  # fmt: skip
    return sources.images(**(arguments | changes))


@pytest.fixture
def animals(tmp_path):
    """Four cats and four dogs of 3x2 pixels, whose values are their number."""
    for row in range(8):
        save(tmp_path / ("cat", "dog")[row % 2] / f"{'ab'[row // 4]}_{row}.png", np.full((3, 2), row))
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    (tmp_path / "cat" / ".hidden.png").write_text("not an image")
    (tmp_path / ".git").mkdir()
    return tmp_path


def everything(data):
    """(value, class) of all examples, by value."""
    parts = [(int(x.flat[0]), int(y)) for part in (data.train, data.test) for x, y in zip(part.x, part.y, strict=True)]
    return sorted(parts)


def test_class_folders_are_classes_in_the_order_of_their_names(animals):
    data = load_images(animals)
    assert (data.train.x.shape, data.train.x.dtype, len(data.test)) == ((6, 1, 3, 2), np.uint8, 2)
    assert everything(data) == [(row, row % 2) for row in range(8)]
    assert data.num_classes == 2
    assert data.users is None


def test_a_file_of_unknown_format_is_told_by_its_name_only(animals):
    (animals / "cat" / "x.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"x\.png is no image that Pillow can read \(unknown format\)"):
        load_images(animals)


def test_relative_paths_start_at_the_root_and_a_test_folder_is_the_test(animals):
    save(animals / "test" / "dog" / "x.png", np.full((3, 2), 99))
    for name in ("cat", "dog"):
        (animals / "train").mkdir(exist_ok=True)
        (animals / name).rename(animals / "train" / name)
    data = load_images("train", root=str(animals), test_path="test")
    assert (len(data.train), everything(data)[-1]) == (8, (99, 1))


def test_users_are_in_the_names_of_files(animals):
    data = load_images(animals, user_pattern="^(.+)_")
    assert data.users.tolist() == [int(x.flat[0]) // 4 for x in data.train.x]


def test_users_are_folders_and_whole_users_may_be_the_test(tmp_path):
    for user, kind in [("ann", "cat"), ("ann", "dog"), ("bob", "dog"), ("cy", "cat"), ("cy", "dog")]:
        save(tmp_path / user / kind / "1.png", np.full((2, 2), {"ann": 1, "bob": 2, "cy": 3}[user]))
    data = load_images(tmp_path, user_folders=True, test_by="user")
    held_out = {int(x.flat[0]) for x in data.test.x}
    assert len(held_out) == 1
    assert (data.users + 1).tolist() == [int(x.flat[0]) for x in data.train.x]
    assert held_out.isdisjoint((data.users + 1).tolist())
    assert data.num_classes == 2


def test_colour_and_grey_are_made_of_each_other(tmp_path):
    colour = np.zeros((2, 2, 3))
    colour[..., 0] = 255
    for name in ("a", "b"):
        save(tmp_path / name / "1.png", colour)
        save(tmp_path / name / "2.png", colour)
    rgb = load_images(tmp_path, channels=3)
    assert rgb.train.x[0, :, 0, 0].tolist() == [255, 0, 0]
    assert load_images(tmp_path, channels=1).train.x[0, 0, 0, 0] == 76  # ITU-R 601-2: 0.299 * 255


def test_images_of_other_sizes_are_resized_when_asked(animals):
    save(animals / "dog" / "c_1.png", np.full((6, 9), 50))
    data = load_images(animals, size=[4, 5])
    assert data.train.x.shape[1:] == (1, 4, 5)
    assert (50, 1) in everything(data)


def test_an_image_of_another_size_is_named(animals):
    save(animals / "dog" / "c_1.png", np.zeros((6, 9)))
    with pytest.raises(DataError, match=r"c_1\.png is 6x9 .*is 3x2: .*data\.size=\[3,2\]"):
        load_images(animals)


def test_broken_images_are_named(animals):
    whole = (animals / "dog" / "a_1.png").read_bytes()
    for content in (b"", b"GIF89a", b"no image at all", whole[:-30], whole[:40] + b"\0" * 20 + whole[60:]):
        (animals / "dog" / "broken.png").write_bytes(content)
        with pytest.raises(DataError, match=r"broken\.png is no image that Pillow can read"):
            load_images(animals)


def test_deep_pixels_are_refused_rather_than_cut(animals):
    Image.fromarray(np.full((3, 2), 40_000, np.uint16)).save(animals / "dog" / "deep.png")
    with pytest.raises(DataError, match=r"deep\.png has pixels of more than 8 bits"):
        load_images(animals)


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        ([], {}, r"has no class folders: images are looked for in .*/CLASS/\*\.png"),
        (["cat/"], {}, r"class folder .*cat has no images"),
        (["cat/1.png", "dog/"], {}, r"class folder .*dog has no images"),
        (["cat/1.png", "dog/notes.txt"], {}, r"class folder .*dog has no images"),
        (["cat/1.png", "cat/2.png"], {}, r"one class folder only \(cat\)"),
        (["ann/cat/1.png", "ann/dog/1.png"], {}, r"ann has no images.*data\.user_folders=true"),
        (["cat/1.png", "dog/1.png"], {"user_folders": True}, r"no class folders.*data\.user_folders=false"),
        (["cat/1.png", "dog/1.png"], {"user_pattern": "(x)"}, r"'\(x\)' finds no user in the name of .*1\.png"),
        (["cat/1.png", "dog/1.png", "t/owl/1.png"], {"path": "cat"}, r"cat has no class folders"),
        (["cat/1.png"], {"path": "nowhere"}, r"no folder .*nowhere"),
        (["cat/1.png"], {"path": "cat/1.png"}, r"no folder .*1\.png"),
    ],
)
def test_folders_that_cannot_be_trained_on_are_told(tmp_path, make, changes, message):
    for name in make:
        if name.endswith(".png"):
            save(tmp_path / name, np.zeros((2, 2)))
        elif name.endswith("/"):
            (tmp_path / name).mkdir(parents=True)
        else:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("")
    with pytest.raises(DataError, match=message):
        load_images(".", **({"root": str(tmp_path)} | changes))


def test_an_unknown_class_in_the_test_is_told(animals, tmp_path_factory):
    other = tmp_path_factory.mktemp("test")
    save(other / "owl" / "1.png", np.zeros((3, 2)))
    with pytest.raises(DataError, match=r"class folder 'owl', which .* has not"):
        load_images(animals, test_path=str(other))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": None}, r"data\.path is not set: give the folder"),
        ({"user_folders": True, "user_pattern": "(.)"}, r"user_folders and data\.user_pattern"),
        ({"user_pattern": "("}, r"no regular expression"),
        ({"user_pattern": "a"}, r"has no group"),
        ({"size": [4]}, r"data\.size=\[4\]: give \[height, width\]"),
        ({"size": [0, 4]}, r"data\.size"),
        ({"test_by": "user"}, r"needs user ids"),
        ({"test_fraction": 0.0}, r"test_fraction"),
    ],
)
def test_settings_that_cannot_be_are_told(animals, changes, message):
    with pytest.raises(ConfigError, match=message):
        load_images(animals, **changes)


# Sheets


def load_sheets(folder, /, **changes):
    arguments = {
        "root": str(folder), "paths": ["s0.png", "s1.png"], "label": "y.npy", "user": None, "count": None,
        "test_paths": None, "test_label": None, "test_count": None, "tile": [2, 3], "channels": 1,
        "test_fraction": 0.25, "test_by": "example", "num_classes": None, "rng": rng(), **CONSTANTS,
    }  # fmt: skip
    return sources.sheets(**(arguments | changes))


@pytest.fixture
def folder(tmp_path):
    """Two sheets of 2x4 tiles of 2x3 pixels: tile i holds i everywhere but for 100 + i in its top right corner."""
    tiles = np.repeat(np.arange(16), 6).reshape(16, 2, 3)
    tiles[:, 0, 2] += 100
    for number in range(2):
        sheet = tiles[8 * number : 8 * number + 8].reshape(2, 4, 2, 3).transpose(0, 2, 1, 3).reshape(4, 12)
        save(tmp_path / f"s{number}.png", sheet)
    np.save(tmp_path / "y.npy", np.arange(16) % 4)
    return tmp_path


def test_tiles_are_read_row_by_row_and_sheet_after_sheet(folder):
    shutil.copy(folder / "s1.png", folder / "t.png")
    data = load_sheets(folder, test_paths=["t.png"], test_label="y.npy", test_count=5)
    expected = np.repeat(np.arange(16), 6).reshape(16, 1, 2, 3)
    expected[:, 0, 0, 2] += 100
    np.testing.assert_array_equal(data.train.x, expected)
    np.testing.assert_array_equal(data.test.x, expected[8:13])
    assert data.train.y.tolist() == [0, 1, 2, 3] * 4
    assert data.test.y.tolist() == [0, 1, 2, 3, 0]
    assert data.train.x.dtype == np.uint8


def test_a_sheet_is_a_user_unless_users_are_given(folder):
    shutil.copy(folder / "s1.png", folder / "t.png")
    test = {"test_paths": ["t.png"], "test_label": "y.npy", "test_count": 8}
    assert load_sheets(folder, **test).users.tolist() == [0] * 8 + [1] * 8
    np.save(folder / "who.npy", np.arange(16) * 10)
    assert load_sheets(folder, user="who.npy", count=10, **test).users.tolist() == list(range(0, 100, 10))


def test_no_sheet_is_read_that_is_not_needed(folder):
    (folder / "s1.png").write_text("no image")
    assert len(load_sheets(folder, count=8).train) == 6
    with pytest.raises(DataError, match="s1"):
        load_sheets(folder, count=9)


def test_the_end_of_the_last_sheet_may_be_unused(folder):
    np.save(folder / "y.npy", np.arange(12) % 4)
    assert len(load_sheets(folder).train) == 9


@pytest.mark.parametrize(
    ("labels", "changes", "message"),
    [
        (np.arange(17) % 4, {}, r"16 tiles for 17 labels: .*data\.count=16"),
        (np.arange(8) % 4, {}, r"8 labels for more tiles: s1\.png would be left over"),
        (np.arange(12) % 4, {"count": 13}, r"are 12, but data\.count asks for 13"),
        (np.zeros(16, int), {}, r"are all 0, so there is nothing to learn"),
        (np.zeros((16, 2), int), {}, r"have shape \(16, 2\)"),
        (np.arange(16) % 4, {"tile": [2, 5]}, r"s0\.png is 4x12 .*2x5"),
        (np.arange(16) % 4, {"tile": [8, 3]}, r"s0\.png is 4x12 .*8x3"),
        (np.arange(16) % 4, {"paths": ["s9.png"]}, r"no file .*s9\.png"),
        (np.arange(16) % 4, {"user": "short.npy"}, r"short\.npy have 3 entries for 16"),
        (np.arange(16) % 4, {"label": "s0.png"}, r"s0\.png is not a readable npy file"),
        (np.arange(16).astype(object), {}, r"y\.npy is not a readable npy file of plain numbers"),
    ],
)
def test_sheets_that_do_not_fit_are_told(folder, labels, changes, message):
    np.save(folder / "y.npy", labels)
    np.save(folder / "short.npy", np.arange(3))
    with pytest.raises(DataError, match=message):
        load_sheets(folder, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"paths": None}, r"data\.paths needs a list"),
        ({"count": 0}, r"data\.count is null or >= 1"),
        ({"test_label": "y.npy"}, r"data\.test_paths and data\.test_label"),
        ({"tile": [2]}, r"data\.tile=\[2\]"),
        ({"label": None}, r"data\.label is not set"),
    ],
)
def test_settings_of_sheets_that_cannot_be_are_told(folder, changes, message):
    with pytest.raises(ConfigError, match=message):
        load_sheets(folder, **changes)


@pytest.mark.skipif(not (SHARED / "cifar10").is_dir(), reason="needs the CIFAR-10 sheets in ../shared/data")
def test_a_sheet_of_cifar_has_500_of_each_class_in_its_published_colours():
    data = load_sheets(
        SHARED, paths=["cifar10/test_0.webp"], label="cifar10/test_labels.npy", count=5000, tile=[32, 32], channels=3
    )
    x, y = np.concatenate([data.train.x, data.test.x]), np.concatenate([data.train.y, data.test.y])
    assert x.shape == (5000, 3, 32, 32)
    assert np.bincount(y).tolist() == [500] * 10
    # The whole data's mean by channel, as usually given; half of the test images come near it.
    np.testing.assert_allclose(x.mean(axis=(0, 2, 3)) / 255, [0.4914, 0.4822, 0.4465], atol=0.01)
