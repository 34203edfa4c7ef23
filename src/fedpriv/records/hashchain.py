"""An append-only JSONL file in which every line holds the hash of the line before it.

A line is `{..., "hash": sha256 of this line without its hash, "index": its number from 0, "prev": the hash of
the line before}`: canonical JSON (sorted keys, no blanks, ASCII, floats by `repr`, no NaN). Whoever knows
`count` and `head` (kept elsewhere, in `run.json`) detects any change to those lines.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self, final

from fedpriv.errors import DamagedRunError
from fedpriv.records.atomic import sync_folder, writing

GENESIS = "0" * 64
"""The head of a chain without lines."""

_RESERVED = frozenset({"hash", "index", "prev"})
_MEND = "Restore the file from a copy, or move the run folder away and run again."


@final
class ChainMismatchError(DamagedRunError):
    """A chain that can be read, but whose hashes say that it is not what was written."""


@final
class HashChain:
    """The one writer of a hash-chained file; `open` it, `append` to it, `close` it.

    An entry is on the disk, synced, when `append` returns, or, if it raises, not in the file at all.
    """

    def __init__(
        self, *, path: Path, descriptor: int, entries: list[dict[str, Any]], size: int, torn: bool
    ) -> None:
        """For `open` only. `size` is the length in bytes of the lines that `entries` holds."""
        self._path = path
        self._descriptor = descriptor
        self._entries = entries
        self._size = size
        self.dropped_torn_line = torn
        """Whether opening dropped a last line that a killed write had left unfinished."""

    @classmethod
    def open(cls, path: Path, *, trusted_count: int, trusted_head: str) -> Self:
        """Open the chain at `path`, made empty if there is none, and check every line.

        Args:
            path: the file; its folder exists, and has one owner (see `RunFolder.acquire`).
            trusted_count: lines that must be there, from the last checkpoint; 0 for a new chain.
            trusted_head: the hash of the last of them; `GENESIS` for a new chain.

        Raises:
            DamagedRunError: a line is damaged, or the trusted lines are not there. A torn last line beyond
                them is no damage: its sync never ended, so nothing was released on its word; it is cut off.
            InputError, FedprivError: the file cannot be made or cut, as `writing` says.
        """
        if trusted_count and not path.exists():
            raise DamagedRunError(f"{path} is missing. {_MEND}")
        with writing(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            with writing(path):
                data = path.read_bytes()
            entries, size = _parse(path, data, trusted_count=trusted_count, trusted_head=trusted_head)
            with writing(path):
                if size < len(data):
                    os.ftruncate(descriptor, size)
                # A killed writer may have left whole lines, or the very name, that are not on the disk yet.
                os.fsync(descriptor)
                sync_folder(path.parent)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(path=path, descriptor=descriptor, entries=entries, size=size, torn=size < len(data))

    @property
    def entries(self) -> Sequence[Mapping[str, Any]]:
        """Every line, in order, with its `index`, `prev` and `hash`."""
        return self._entries

    @property
    def count(self) -> int:
        """Number of lines."""
        return len(self._entries)

    @property
    def head(self) -> str:
        """The last line's hash, or `GENESIS`."""
        return str(self._entries[-1]["hash"]) if self._entries else GENESIS

    def append(self, entry: Mapping[str, Any]) -> str:
        """Add one line and sync it to the disk; returns its hash.

        Args:
            entry: JSON values; numpy and torch scalars and arrays are written as numbers and lists.

        Raises:
            ValueError: NaN or an infinity, or one of the reserved names `hash`, `index`, `prev`.
            TypeError: a value that JSON does not have.
            FedprivError: the disk is full or fails; the file is as it was before.
        """
        if self._descriptor < 0:
            raise ValueError(f"{self._path} is closed")
        if taken := _RESERVED & entry.keys():
            raise ValueError(f"a chain's entry cannot have its own {', '.join(sorted(taken))}")
        linked = {**entry, "index": self.count, "prev": self.head}
        digest = hashlib.sha256(_canonical(linked)).hexdigest()
        line = _canonical({**linked, "hash": digest})
        before, size = self.count, self._size
        with writing(self._path):
            try:
                _write_all(self._descriptor, line + b"\n", size)
                os.fsync(self._descriptor)
                self._entries.append(json.loads(line))
                self._size = size + len(line) + 1
            except BaseException:  # Ctrl-C too: an entry that was not acknowledged must not stay
                del self._entries[before:]
                self._size = size
                self._cut(size)
                raise
        return digest

    def close(self) -> None:
        """Close the file; the chain can still be read, but not appended to."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _cut(self, size: int) -> None:
        try:
            os.ftruncate(self._descriptor, size)
        except OSError:
            self.close()  # the tail is unknown: no line may follow it; the next `open` drops it as torn
            raise
        with suppress(OSError):
            os.fsync(self._descriptor)


def read_chain(
    path: Path, *, trusted_count: int = 0, trusted_head: str = GENESIS, exact: bool = False
) -> list[dict[str, Any]]:
    """Read and check a chain without changing it; safe while its owner appends.

    Args:
        path: the file.
        trusted_count: lines that must be there.
        trusted_head: the hash of the last of them.
        exact: whether nothing may follow them, as in a completed run; otherwise a torn last line is left out.

    Returns:
        Every line, in order, with its `index`, `prev` and `hash`.

    Raises:
        ChainMismatchError: readable, but not what was written.
        DamagedRunError: missing or unreadable.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DamagedRunError(f"Cannot read {path}: {error.strerror}. {_MEND}") from error
    entries, size = _parse(path, data, trusted_count=trusted_count, trusted_head=trusted_head)
    if exact and (len(entries) != trusted_count or size != len(data)):
        raise ChainMismatchError(f"{path} goes on after its {trusted_count} lines. {_MEND}")
    return entries


def _parse(
    path: Path, data: bytes, *, trusted_count: int, trusted_head: str
) -> tuple[list[dict[str, Any]], int]:
    """The lines of `data`, checked, and their length in bytes (less than `data` if the last is torn)."""
    entries: list[dict[str, Any]] = []
    head = GENESIS
    # What follows the last newline is torn, whatever it holds: a write ends with its newline.
    *lines, rest = data.split(b"\n")
    size = len(data) - len(rest)
    for index, line in enumerate(lines):
        try:
            entry = _decode(line)
        except (ValueError, RecursionError):
            if index == len(lines) - 1 and not rest and index >= trusted_count:
                size -= len(line) + 1
                break
            raise DamagedRunError(f"{path}, line {index + 1}: not a line that a run wrote. {_MEND}") from None
        digest = str(entry.get("hash"))
        # Hashed as it stands, cut out of the bytes: one changed byte anywhere shows.
        body = line.replace(b'"hash":"%s",' % digest.encode("ascii", "replace"), b"", 1)
        if (
            hashlib.sha256(body).hexdigest() != digest
            or entry.get("prev") != head
            or entry.get("index") != index
        ):
            _mismatch(path, index)
        head = digest
        entries.append(entry)
    if len(entries) < trusted_count:
        raise ChainMismatchError(
            f"{path} ends after line {len(entries)}, but the run recorded {trusted_count} lines. {_MEND}"
        )
    if (entries[trusted_count - 1]["hash"] if trusted_count else GENESIS) != trusted_head:
        _mismatch(path, max(trusted_count - 1, 0))
    return entries, size


def _mismatch(path: Path, index: int) -> NoReturn:
    raise ChainMismatchError(
        f"{path}, line {index + 1}: it is not what the run wrote, as its hash shows. {_MEND}"
    )


def _canonical(value: Mapping[str, Any]) -> bytes:
    return _ENCODER.encode(value).encode("ascii")


def _decode(line: bytes) -> dict[str, Any]:
    value = _DECODER.decode(line.decode("ascii"))
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain)
_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
