"""Proposes a block for ``data=characters``: a text cut into speakers."""

import re
from collections import Counter
from pathlib import Path

from fedpriv.data.proposals.proposal import Proposal
from fedpriv.data.proposals.yaml_text import scalar
from fedpriv.data.sources.files import read_bytes
from fedpriv.errors import DataError

_SPEAKER = re.compile(r"(?:\A|\n\s*\n)([^\n:]{1,60}):[ \t]*\n")
_HEAD = 1 << 16
_LENGTH = 80


def recognises(path: Path) -> bool:
    """Text whose beginning has blocks that start with a line ``NAME:``."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(_HEAD)
    return b"\0" not in head and len(_SPEAKER.findall(_text(head)[0])) > 1


def propose(path: Path, *, label: str | None, user: str | None) -> Proposal:
    """Users are the speakers, labels the next characters."""
    if label is not None or user is not None:
        raise DataError(f"{path}: users are the speakers, labels the next characters: leave out --label and --user.")
    text, encoding = _text(read_bytes(path))
    speeches = Counter(name.strip() for name in _SPEAKER.findall(text))
    return Proposal(
        facts=[
            ("text", f"{path}, {len(text):,} characters, {encoding}"),
            ("speakers", f"{len(speeches):,}"),
            ("alphabet", f"{len(set(text)):,} distinct characters; newline and printable ASCII are told apart"),
        ],
        header=("speaker", "speeches"),
        rows=[(name, f"{count:,}") for name, count in speeches.most_common(10)],
        notes=["Shown are the 10 who speak most often."] if len(speeches) > 10 else [],
        source="characters",
        keys=f"path: {scalar(str(path))}\nencoding: {encoding}\nlength: {_LENGTH}  # characters of an example\n",
        fitted=False,
        model="char_lstm",
        natural=True,
    )


def _text(content: bytes) -> tuple[str, str]:
    """The text, and the encoding that fits it; a character cut off at the end is none."""
    try:
        text, encoding = content.decode("utf-8", errors="ignore" if len(content) == _HEAD else "strict"), "utf-8"
    except UnicodeDecodeError:
        text, encoding = content.decode("latin-1"), "latin-1"
    return text.replace("\r\n", "\n"), encoding
