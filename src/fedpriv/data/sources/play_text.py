"""A play, cut into windows of characters by speaker."""

import codecs
import re
from typing import Literal

import numpy as np

from fedpriv.data.dataset import Dataset, Examples, IntArray
from fedpriv.data.sources.files import read_bytes, resolve
from fedpriv.data.sources.split import split_users
from fedpriv.errors import ConfigError, DataError

# Public: it does not depend on the text.
PRINTABLE_ASCII = "\n" + "".join(map(chr, range(32, 127)))
_SPEAKER = re.compile(r"([^\n:]{1,60}):[ \t]*")


def characters(
    *,
    root: str | None,
    path: str | None,
    encoding: str,
    length: int,
    alphabet: str | None,
    test_fraction: float,
    test_by: Literal["time", "user"],
    public: bool,
    rng: np.random.Generator,
) -> Dataset:
    """The next character at every position: x and y int (n, length), y one character later than x.

    The text is blocks parted by empty lines, each a line ``NAME:`` and then what is said; a block without a name goes
    on with the last speaker's. A user is a speaker, numbered by name. Everything that a speaker says is joined
    and cut into windows of ``length + 1`` characters that share none; what is left over at the end is unused.

    Source: the federated Shakespeare of McMahan et al. 2017, section 3, and of LEAF (Caldas et al. 2018), which splits
    each speaker's lines by time as well.

    Args:
        root: folder where relative paths start; None: the current one.
        path: the text file.
        encoding: of the file, as Python names it.
        length: characters of an example.
        alphabet: the characters that are told apart, public; all others are one more token, the last. None: newline
            and printable ASCII.
        test_fraction: which part is for the test, rounded down for each speaker with ``time``.
        test_by: ``time``: the last windows of every speaker; ``user``: whole speakers.
        public: whether everybody may see this text.

    Raises:
        DataError: a missing file, another encoding, no speakers, or nobody with enough text.
        ConfigError: no file named, or settings that can't be.
    """
    if length < 1:
        raise ConfigError(f"data.length={length} must be a whole number >= 1.")
    known = PRINTABLE_ASCII if alphabet is None else alphabet
    if not known or len(set(known)) != len(known):
        raise ConfigError("data.alphabet must name each character once, and one at least (null: printable ASCII).")
    file = resolve(path=path, root=root, key="data.path")
    speeches = _by_speaker(_decoded(read_bytes(file), encoding, where=str(file)), where=str(file))
    tokens = [_windows(_tokens(speeches[name], known), length) for name in sorted(speeches)]
    sizes = np.array([len(windows) for windows in tokens])
    if not sizes.any():
        longest = max(map(len, speeches.values()))
        raise DataError(
            f"{file}: data.length={length} is longer than what any of the {len(speeches)} speakers says (at most "
            f"{longest} characters, and a window takes {length + 1}): choose shorter windows."
        )
    windows, users = np.concatenate(tokens), np.repeat(np.arange(len(sizes)), sizes)
    if test_by == "user":
        train, test = split_users(users=users, test_fraction=test_fraction, rng=rng)
    else:
        train, test = _split_by_time(sizes, test_fraction)
    num_tokens = len(known) + 1
    stored = windows.astype(np.min_scalar_type(num_tokens))
    return Dataset(
        train=Examples(stored[train, :-1], windows[train, 1:]),
        test=Examples(stored[test, :-1], windows[test, 1:]),
        users=users[train],
        num_classes=num_tokens,
        num_tokens=num_tokens,
        public=public,
    )


_NO_TEXT = "{} has NUL bytes: it is no text, or data.encoding=utf-16 is right."


def _decoded(content: bytes, encoding: str, *, where: str) -> str:
    try:
        text = content.decode(encoding)
    except LookupError as error:
        raise ConfigError(f"data.encoding={encoding} is unknown: use utf-8, latin-1, cp1252 or the like.") from error
    except UnicodeError as error:
        if b"\0" in content and not content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise DataError(_NO_TEXT.format(where)) from error
        raise DataError(
            f"{where} is not {encoding} text ({error}): set data.encoding to the file's own, e.g. latin-1 or utf-16."
        ) from error
    if "\0" in text:
        raise DataError(_NO_TEXT.format(where))
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _by_speaker(text: str, *, where: str) -> dict[str, str]:
    """What each speaker says, speeches joined by a newline."""
    speeches: dict[str, list[str]] = {}
    name = None
    for block in re.split(r"\n(?:[ \t]*\n)+", text.strip("\n")):
        first, _, rest = block.partition("\n")
        if match := _SPEAKER.fullmatch(first):
            name = match[1].strip()
        elif name is not None:
            rest = block
        if name is not None:
            speeches.setdefault(name, []).append(rest)
    if not speeches:
        raise DataError(
            f"{where} has no speakers: a block starts with a line 'NAME:', and blocks are parted by empty lines."
        )
    return {name: "\n".join(said) for name, said in speeches.items()}


def _tokens(text: str, alphabet: str) -> IntArray:
    table = {character: token for token, character in enumerate(alphabet)}
    return np.array([table.get(character, len(alphabet)) for character in text], np.int64)


def _windows(tokens: IntArray, length: int) -> IntArray:
    count = len(tokens) // (length + 1)
    return tokens[: count * (length + 1)].reshape(count, length + 1)


def _split_by_time(sizes: IntArray, test_fraction: float) -> tuple[IntArray, IntArray]:
    """Rows (training, test), each ascending: the last of each speaker's are for the test."""
    tests = np.floor(sizes * test_fraction).astype(np.int64) if 0 < test_fraction < 1 else np.zeros_like(sizes)
    if not tests.any():
        raise ConfigError(
            f"data.test_fraction is {test_fraction}, and no speaker has windows enough for training and test: choose "
            "a larger one below 1, or shorter windows (data.length)."
        )
    position = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    in_test = position >= np.repeat(sizes - tests, sizes)
    return np.flatnonzero(~in_test), np.flatnonzero(in_test)
