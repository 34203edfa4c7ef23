import errno
import os
import pickle
import tempfile
from contextlib import closing

import numpy as np
import pytest

from fedpriv.errors import FedprivError
from fedpriv.runtimes.sharing import nameless_file, share

LARGE = np.arange(100_000)
SECRET = bytes(range(200, 216)) * 2


@pytest.fixture
def file():
    with closing(nameless_file()) as file:
        yield file


@pytest.mark.parametrize(
    "array",
    [LARGE, LARGE.astype(np.float32).reshape(10, -1), LARGE[::2], LARGE.reshape(10, -1).T, LARGE > 3],
    ids=["one axis", "two axes", "strided", "transposed", "booleans"],
)
def test_large_arrays_come_back_equal_from_the_file_and_cannot_be_written(array, file):
    shared = share({"array": array, "again": array}, file)
    found = shared.load(file.fileno())
    assert len(shared.pickled) < 1000
    np.testing.assert_array_equal(found["array"], array)
    assert found["array"].dtype == array.dtype
    with pytest.raises(ValueError, match="read-only"):
        found["array"].flat[0] = 1
    assert sum(size for _, size in shared.spans) == array.nbytes, "once, however often it is named"


def test_small_arrays_stay_with_the_rest_and_can_be_written(file):
    shared = share([np.zeros(10), np.zeros(0), "text"], file)
    assert not shared.spans
    found = shared.load(-1)
    found[0][:] = 1
    assert found[2] == "text"


def test_arrays_of_objects_are_pickled_as_ever(file):
    strings = np.array([f"{i}" for i in range(20_000)], dtype=object)
    assert share(strings, file).load(file.fileno()).tolist() == strings.tolist()


def test_a_key_is_never_in_the_file(file):
    shared = share({"key": SECRET, "x": LARGE, "y": LARGE + 1}, file)
    file.seek(0)
    written = file.read()
    assert SECRET in shared.pickled
    assert SECRET not in written
    assert len(written) == pytest.approx(2 * LARGE.nbytes, rel=0.01)


def test_the_file_has_no_name_and_is_for_its_owner_only(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with closing(nameless_file()) as file:
        share(LARGE, file)
        assert not list(tmp_path.iterdir())
        assert os.fstat(file.fileno()).st_mode & 0o077 == 0


def test_a_full_disk_is_one_clear_message():
    class Full:
        def tell(self):
            return 0

        def seek(self, start):
            pass

        def write(self, raw):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(FedprivError, match=r"No space left on device. .* or run with workers=1"):
        share(LARGE, Full())


def test_what_cannot_be_pickled_says_so(file):
    with pytest.raises((pickle.PicklingError, AttributeError)):
        share(lambda: None, file)
