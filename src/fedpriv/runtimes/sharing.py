"""An object for many processes of this machine: its large arrays lie once in a file that all of them map."""

import mmap
import pickle
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np

from fedpriv.errors import FedprivError

_LARGE = 1 << 16  # bytes; what is smaller is not worth a page of the map
_ALIGNED = 64


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What is left of an object without its large arrays.

    Attributes:
        pickled: all but those; may hold a secret key, so it is for pipes only and never written.
        spans: (offset, bytes) of each large array in the file.
    """

    pickled: bytes
    spans: tuple[tuple[int, int], ...]

    def load(self, descriptor: int) -> Any:
        """The object, in a process that has the file open; its large arrays are read-only and take no memory here."""
        return self.unpickle(self.map(descriptor))

    def map(self, descriptor: int) -> list[memoryview]:
        """The large arrays' bytes, read-only, in a process that has the file open."""
        if not self.spans:
            return []
        memory = memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))  # unmapped with the last array
        return [memory[start : start + size] for start, size in self.spans]

    def unpickle(self, buffers: Sequence[Any]) -> Any:
        """The object around these bytes of its large arrays."""
        return pickle.loads(self.pickled, buffers=buffers)


def nameless_file() -> BinaryIO:
    """Owner-only, in the folder for temporary files; gone with the last process that has it open, however that ends."""
    try:
        return tempfile.TemporaryFile(prefix="fedpriv-")
    except OSError as error:
        raise _no_room(error) from error


def share(thing: Any, file: BinaryIO) -> Shared:
    """Pickle ``thing``, and write its large numpy arrays into ``file``.

    Raises:
        FedprivError: the file has no room for them.
    """
    spans: list[tuple[int, int]] = []

    def keep_in_pickle(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < _LARGE:
            return True
        start = -(-file.tell() // _ALIGNED) * _ALIGNED
        file.seek(start)
        file.write(raw)
        spans.append((start, raw.nbytes))
        return False

    pickled = BytesIO()
    try:
        _Pickler(pickled, buffer_callback=keep_in_pickle).dump(thing)
        file.flush()
    except OSError as error:
        raise _no_room(error) from error
    return Shared(pickled=pickled.getvalue(), spans=tuple(spans))


class _Pickler(pickle.Pickler):
    """Strided views, too, are arrays of their own for others."""

    def __init__(self, file: BinaryIO, *, buffer_callback: Callable[[pickle.PickleBuffer], bool]) -> None:
        super().__init__(file, protocol=5, buffer_callback=buffer_callback)

    def reducer_override(self, thing: Any) -> Any:
        if type(thing) is np.ndarray and thing.nbytes >= _LARGE and not thing.flags.forc and not thing.dtype.hasobject:
            return np.ascontiguousarray(thing).__reduce_ex__(5)
        return NotImplemented


def _no_room(error: OSError) -> FedprivError:
    return FedprivError(
        f"The data for the workers cannot be written to {tempfile.gettempdir()}: {error.strerror or error}. Make room, "
        "let TMPDIR name a folder with more, or run with workers=1."
    )
