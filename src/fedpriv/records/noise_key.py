"""The secret key of a run's noise: 128 bits in an owner-only file, destroyed at completion.

Whoever has it can subtract the noise.
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from fedpriv.errors import DamagedRunError, InputError
from fedpriv.records.atomic import atomic_file, sync_folder, temporary, writing

KEY_BYTES = 16


def create_noise_key(path: Path) -> bytes:
    """Draw a key from the system and write it to `path`, readable by its owner only; returns its 16 bytes.

    Raises:
        InputError: a key is there already, or the place is not writable.
        FedprivError: the disk is full or fails.
    """
    if path.exists():
        raise InputError(
            f"{path} exists already: resume that run, or remove the file to give up its noise key."
        )
    key = secrets.token_bytes(KEY_BYTES)
    with atomic_file(path, mode=0o600) as file:
        file.write(key)
    return key


def read_noise_key(path: Path) -> bytes:
    """The 16 bytes of the key at `path`.

    Raises:
        DamagedRunError: it is gone, unreadable or cut short, so that the run's noise cannot be continued.
    """
    try:
        key = path.read_bytes()
    except OSError as error:
        raise DamagedRunError(
            f"Cannot read the noise key {path}: {error.strerror}. Without it the run cannot go on; "
            "run again with force=true."
        ) from error
    if len(key) != KEY_BYTES:
        raise DamagedRunError(f"The noise key {path} is damaged. Run again with force=true.")
    return key


def destroy_noise_key(path: Path) -> None:
    """Remove the key, overwritten first where the disk honours it; no key is fine.

    It is renamed before it is overwritten, so that a kill in between leaves no false key under its name.
    """
    doomed = temporary(path)
    with writing(path):
        with suppress(FileNotFoundError):
            os.replace(path, doomed)
            sync_folder(path.parent)
        if not doomed.exists():
            return
        with suppress(OSError), doomed.open("r+b") as file:
            file.write(bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        doomed.unlink()
        sync_folder(path.parent)
