"""Whole files, written aside, synced and renamed: a reader sees the old file or the new one, never a part."""

import errno
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from fedpriv.errors import FedprivError, InputError

# What the user mends with another folder or other permissions; all else is the machine's trouble.
_MENDABLE = {
    errno.EACCES: "you have no permission to write there",
    errno.EPERM: "you have no permission to write there",
    errno.EROFS: "that disk is read-only",
    errno.ENOTDIR: "a file is in the way where a folder is needed",
    errno.EEXIST: "a file is in the way",
    errno.EISDIR: "a folder is in the way where a file is needed",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENOENT: "the folder does not exist",
}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an `OSError` met while writing `path` into one message with its mend.

    Raises:
        InputError: the place is not writable (permissions, a file in the way, a read-only disk).
        FedprivError: the disk is full, or fails.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _MENDABLE:
            raise InputError(
                f"Cannot write {path}: {_MENDABLE[error.errno]}. "
                "Choose another output_dir, or make this one writable."
            ) from error
        mend = "Free some space" if error.errno in _FULL else "Check the disk"
        raise FedprivError(
            f"Cannot write {path}: {error.strerror or error}. {mend}, then resume the run; "
            "nothing half-written was left."
        ) from error


def sync_folder(folder: Path) -> None:
    """Make the folder's entries (new, renamed and removed names) survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary(path: Path) -> Path:
    """The name under which `path` is written aside.

    It is fixed, as a run folder has one owner at a time, so that the next write clears what a kill left.
    """
    return path.with_name(f".{path.name}.tmp")


def remove_temporaries(folder: Path) -> None:
    """Remove what a killed write left in `folder`; only the run folder's owner may call it."""
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink(missing_ok=True)


@contextmanager
def atomic_file(path: Path, *, mode: int = 0o666) -> Iterator[BinaryIO]:
    """A binary file that becomes `path`, whole and synced, when the block ends, and vanishes if it raises.

    `mode` holds the permission bits before the umask. `OSError` is raised as `writing` says.
    """
    aside = temporary(path)
    with writing(path):
        try:
            aside.unlink(missing_ok=True)
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(descriptor)
            os.replace(aside, path)
            sync_folder(path.parent)
        except BaseException:
            with suppress(OSError):
                aside.unlink(missing_ok=True)
            raise


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path`, all or nothing."""
    with atomic_file(path) as file:
        file.write(data)


def write_text_atomic(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, all or nothing."""
    write_bytes_atomic(path, text.encode())


def write_json_atomic(path: Path, value: Any) -> None:
    """Write `value` to `path` as strict JSON, all or nothing; NaN and infinities become null."""
    write_text_atomic(path, json.dumps(strict_json(value), indent=2, allow_nan=False) + "\n")


def strict_json(value: Any) -> Any:
    """`value` with only what strict JSON has: arrays and tensors as lists, NaN and infinities as None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: strict_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [strict_json(inner) for inner in value]
    if hasattr(value, "tolist"):
        return strict_json(value.tolist())
    return value
