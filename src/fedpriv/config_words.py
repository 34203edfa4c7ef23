"""What Hydra and omegaconf say of a wrong config, in words for people who know neither."""

import difflib
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any


def unknown_keys(composed: Any, kind: Any, prefix: str = "") -> Iterator[str]:
    """Keys that ``+key=value`` brought in; omegaconf would drop them without a word."""
    known = {f.name: f.type for f in fields(kind)}
    for key in composed:
        if key not in known:
            yield f"{prefix}{key}"
        elif is_dataclass(known[key]):
            yield from unknown_keys(composed._get_node(key), known[key], f"{prefix}{key}.")


def _known_keys(kind: Any, prefix: str = "") -> Iterator[str]:
    for f in fields(kind):
        yield f"{prefix}{f.name}"
        if is_dataclass(f.type):
            yield from _known_keys(f.type, f"{prefix}{f.name}.")


def unknown(key: str, schema: Any) -> str:
    """What to say of a key or group that is not there."""
    section, _, name = key.rpartition(".")
    if section.count(".") and section.split(".")[0] in _known_keys(schema):
        return f"{section} has no entry {name}; a new one is given with a plus: +{key}=VALUE."
    if section and not any(k.startswith(f"{section}.") for k in _known_keys(schema)) and section in _known_keys(schema):
        group = section.partition(".")[0]
        return (
            f"There is no key {name} in this choice of {section}; its file in conf/{group}/ lists them all. "
            f"An argument of a _target_ that the file leaves out is given with a plus: +{key}=VALUE."
        )
    if key in _known_keys(schema):
        return f"{key} is a group; write {key}=CHOICE. `fedpriv run --help` lists its choices."
    others = [k for k in (*_known_keys(schema), "experiment") if not key.startswith(f"{k}.")]
    near = difflib.get_close_matches(key, others, n=1, cutoff=0.6)
    meant = f" Did you mean {near[0]}?" if near else ""
    return f"There is no key or group {key}.{meant} `fedpriv run --help` lists them."


def readable(error: BaseException, schema: Any) -> str:
    """Hydra's and omegaconf's messages for people who know neither."""
    cause = f"\n{error.__cause__}" if error.__cause__ is not None else ""
    raw = f"{error}{cause}"
    lines = [line.strip() for line in raw.splitlines() if line.strip()]
    useless = ("full_key:", "object_type=", "reference_type=", "See https://", "Config search path", "provider=")
    text = " ".join(line for line in lines if not line.startswith(useless))
    full_key = match[1] if (match := re.search(r"full_key: (\S+)", raw)) else None

    file = re.match(r"In '([^']+)': (?:\w+ raised while composing config: )?", text)
    where = "" if file is None or file[1] == "config" else f"{file[1]}.yaml: "
    if file is not None:
        text = text[file.end() :]
    merging = re.match(r"Error merging override (\S+) ", text)
    if merging is not None:
        where, text = f"{merging[1]}: ", text[merging.end() :]
    if match := re.match(r"Could not override '([^'@]+)", text):
        inside = full_key is not None and full_key.startswith(f"{match[1]}.") and "." in match[1]
        return where + unknown(full_key if inside and full_key else match[1], schema)
    if match := re.match(r"Could not find '(.+)/([^/]+)' Available options in '[^']+': (.+)", text):
        return f"{where}{match[1]}={match[2]} is unknown; use one of {', '.join(match[3].split())}."
    if match := re.match(r"Key '(\w+)' not in '\w+'", text):
        if file is not None and file[1].startswith(f"{match[1]}/"):
            return f"{where}a preset must begin with the line '# @package _global_'."
        return where + unknown(full_key or match[1], schema)
    if full_key is not None and not merging:
        where += f"{full_key}: "
    for pattern, words in _IN_WORDS.items():
        text = re.sub(pattern, words, text)
    return where + text


_IN_WORDS = {
    r"Value '(.*)' of type '\w+' could not be converted to Integer": r"a whole number is asked for, not '\1'.",
    r"Value '(.*)' of type '\w+' could not be converted to Float": r"a number is asked for, not '\1'.",
    r"Value '(.*)' is not a valid bool.*": r"true or false is asked for, not '\1'.",
    r"field '\w+' is not Optional": "a value is needed, not null.",
    r"Config group override must be.*": "A group takes the name of one of its choices: GROUP=CHOICE.",
    r".*does not support deletion.*": "it cannot be deleted; set it to null, or to another value.",
}
