"""An append-only JSONL file in which every line holds the hash of the line before it.

A line is `{..., "hash": sha256 of this line without its hash, "index": its number from 0, "prev": the hash of
the line before}`: canonical JSON (sorted keys, no blanks, ASCII, floats by `repr`, no NaN). Whoever knows
`count` and `head` (kept elsewhere, in `run.json`) detects any change to those lines.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, NoReturn, Self, final

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
        self, *, path: Path, descriptor: int, count: int, head: str, size: int, torn: bool
    ) -> None:
        """For `open` only. `size` is the length in bytes of `count` lines, `head` the hash of the last."""
        self._path = path
        self._descriptor = descriptor
        self.count = count
        """Number of lines."""
        self.head = head
        """The last line's hash, or `GENESIS`."""
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
            count, head, size = 0, GENESIS, 0
            for line in _lines(path, trusted_count=trusted_count, trusted_head=trusted_head):
                count, head, size = count + 1, line.entry["hash"], line.end
            with writing(path):
                torn = size < os.fstat(descriptor).st_size
                if torn:
                    os.ftruncate(descriptor, size)
                # A killed writer may have left whole lines, or the very name, that are not on the disk yet.
                os.fsync(descriptor)
                sync_folder(path.parent)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(path=path, descriptor=descriptor, count=count, head=head, size=size, torn=torn)

    @property
    def entries(self) -> Iterator[Mapping[str, Any]]:
        """Every line, in order, with its `index`, `prev` and `hash`: read from the file, and checked, again.

        Raises:
            DamagedRunError: while it is read: somebody else changed the file.
        """
        for line in islice(_lines(self._path, trusted_count=self.count, trusted_head=self.head), self.count):
            yield line.entry

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
        before = self.count, self.head, self._size
        with writing(self._path):
            try:
                _write_all(self._descriptor, line + b"\n", self._size)
                os.fsync(self._descriptor)
                self.count, self.head, self._size = self.count + 1, digest, self._size + len(line) + 1
            except BaseException:  # Ctrl-C too: an entry that was not acknowledged must not stay
                self.count, self.head, self._size = before
                self._cut(self._size)
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
    entries, size = list[dict[str, Any]](), 0
    for line in _lines(path, trusted_count=trusted_count, trusted_head=trusted_head):
        entries.append(line.entry)
        size = line.end
    if exact and (len(entries) != trusted_count or size != path.stat().st_size):
        raise ChainMismatchError(f"{path} goes on after its {trusted_count} lines. {_MEND}")
    return entries


class _Line(NamedTuple):
    entry: dict[str, Any]
    end: int  # in bytes from the start of the file


def _lines(path: Path, *, trusted_count: int, trusted_head: str) -> Iterator[_Line]:
    """The lines of a file, each checked before it is given out; a torn last one is left out."""
    count, head, end = 0, GENESIS, 0
    if not trusted_count and trusted_head != GENESIS:
        _mismatch(path, 0)
    try:
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break  # torn, whatever it holds: a write ends with its newline
                try:
                    entry = _decode(line[:-1])
                except (ValueError, RecursionError):
                    if count >= trusted_count and not file.read(1):
                        break
                    raise DamagedRunError(f"{path}, line {count + 1}: not a line that a run wrote. {_MEND}") from None
                digest = str(entry.get("hash"))
                # Hashed as it stands, cut out of the bytes: one changed byte anywhere shows.
                body = line[:-1].replace(b'"hash":"%s",' % digest.encode("ascii", "replace"), b"", 1)
                if (
                    hashlib.sha256(body).hexdigest() != digest
                    or entry.get("prev") != head
                    or entry.get("index") != count
                    or (count + 1 == trusted_count and digest != trusted_head)
                ):
                    _mismatch(path, count)
                count, head, end = count + 1, digest, end + len(line)
                yield _Line(entry, end)
    except OSError as error:
        raise DamagedRunError(f"Cannot read {path}: {error.strerror}. {_MEND}") from error
    if count < trusted_count:
        raise ChainMismatchError(
            f"{path} ends after line {count}, but the run recorded {trusted_count} lines. {_MEND}"
        )


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
