"""One array from a numpy .npy file. Pickled objects are never loaded."""

import io
from pathlib import Path

import numpy as np

from fedpriv.data.dataset import Array
from fedpriv.data.sources.files import read_bytes
from fedpriv.errors import DataError


def read_npy(file: Path) -> Array:
    """The array.

    Raises:
        DataError: not a .npy file, damaged, or with Python objects.
    """
    try:
        content = np.load(io.BytesIO(read_bytes(file)), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise DataError(f"{file} is not a readable npy file of plain numbers: write it with numpy.save.") from error
    if not isinstance(content, np.ndarray):
        raise DataError(f"{file} holds several arrays: write one with numpy.save.")
    return content
