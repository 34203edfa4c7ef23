"""Values as YAML that Hydra reads back as they are."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

# YAML refuses these characters unescaped, or takes them for line breaks; JSON leaves them as they are.
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def scalar(value: Any) -> str:
    """A text in quotes, a number, true, false or null."""
    text = json.dumps(value, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def flow(values: Iterable[Any]) -> str:
    """A list on one line."""
    return f"[{', '.join(map(scalar, values))}]"


def mapping(entries: Mapping[str, str]) -> str:
    """Keys, quoted, with values that are YAML already, one a line below a key of their own."""
    return "".join(f"\n  {scalar(key)}: {value}" for key, value in entries.items()) or " {}"


def writable(text: str) -> bool:
    """Whether Hydra would keep it: it interpolates ${...} and takes ??? for a value that is to come."""
    return "${" not in text and text != "???"


def number(value: float) -> int | float:
    """Whole numbers without a point."""
    return int(value) if float(value).is_integer() and abs(value) < 1e15 else float(value)
