"""Galleries of reconstructed images: read as from a stranger, and shown only where somebody asks for them."""

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..attack_results import named, number
from ..panels import Setting
from .course import Course, at

MOST_IMAGES = 8
_ROWS = {"truth": "the truth", "reconstruction": "reconstruction", "nearest": "nearest other image"}
_LIKENESS = {"reconstruction": "psnr", "nearest": "baseline"}
_HEAD = "data:image/png;base64,"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MOST_BYTES = 256 * 1024  # of one image
_MOST_PIXELS = 512  # of a side
_LARGEST_FILE = 16 * 1024 * 1024
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,80}")
_LONGEST = 40  # letters of a label


class UnfitError(Exception):
    """Why a gallery is not shown, in words."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A PNG as a data-URI, what it shows, and what is told under it: how like the truth it is, or its label."""

    uri: str
    shows: str
    told: str


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """What one attack made of a run's images.

    Attributes:
        title: attack, setting and run.
        rows: truth, reconstruction and nearest other image, each with its title.
        note: why it cannot be shown; then there are no rows.
    """

    title: str
    rows: Sequence[tuple[str, Sequence[Picture]]]
    note: str


def galleries(course: Course) -> Iterator[Gallery]:
    """Of the least and the most private setting that have one, by attack: of each the run of the lowest seed."""
    for name, setting, file in _found(course):
        run = file.parent.parent.name
        title = f"{name}, {at(setting)}, run {run}"
        try:
            yield _gallery(title, _read(file))
        except UnfitError as reason:
            yield Gallery(title=title, rows=(), note=f"The gallery in {file.name} is not shown: {reason}")


def any_galleries(course: Course) -> bool:
    """Whether there are galleries that could be shown."""
    return next(_found(course), None) is not None


def _found(course: Course) -> Iterator[tuple[str, Setting, Path]]:
    for name in named(course.runs, "reconstruction"):
        if not _NAME.fullmatch(name):
            continue
        files = {}
        for setting in course.settings:
            runs = sorted(setting.runs, key=lambda run: run.record.seed)
            every = (run.path / "attacks" / f"{name}.json" for run in runs)
            if file := next((file for file in every if file.is_file()), None):
                files[setting] = file
        known = list(files)
        for setting in dict.fromkeys([*known[-1:], *known[:1]]):
            yield name, setting, files[setting]


def _read(file: Path) -> Any:
    try:
        if file.stat().st_size > _LARGEST_FILE:
            raise UnfitError("it is larger than any that fedpriv writes.")
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UnfitError("it cannot be read.") from error
    return found.get("gallery") if isinstance(found, dict) else None


def _gallery(title: str, entries: Any) -> Gallery:
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise UnfitError("it is no list of images.")
    if len(entries) > MOST_IMAGES:
        raise UnfitError(f"it has more than {MOST_IMAGES} images.")
    labels = [_label(entry) for entry in entries]
    likeness = {key: [_decibel(entry, key) for entry in entries] for key in ("psnr", "baseline")}
    rows = [
        (
            row,
            [
                Picture(
                    uri=png(entry.get(key)),
                    shows=f"{row}, image {place + 1}{labels[place]}",
                    told=likeness[_LIKENESS[key]][place] if key in _LIKENESS else labels[place].strip(" ()"),
                )
                for place, entry in enumerate(entries)
            ],
        )
        for key, row in _ROWS.items()
    ]
    return Gallery(title=title, rows=rows, note="")


def png(uri: Any) -> str:
    """The same image as a data-URI written anew.

    Raises:
        UnfitError: it is anything but a small PNG in base64.
    """
    if not isinstance(uri, str) or not uri.startswith(_HEAD):
        raise UnfitError("an image is no PNG in base64.")
    if len(uri) > len(_HEAD) + 4 * (_MOST_BYTES // 3 + 1):
        raise UnfitError("an image is too large.")
    try:
        image = base64.b64decode(uri[len(_HEAD) :].encode("ascii"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnfitError("an image is no PNG in base64.") from error
    if not image.startswith(_SIGNATURE) or image[12:16] != b"IHDR" or b"IEND" not in image[-12:]:
        raise UnfitError("an image is no PNG.")
    width, height = (int.from_bytes(image[start : start + 4], "big") for start in (16, 20))
    if not 0 < width <= _MOST_PIXELS or not 0 < height <= _MOST_PIXELS:
        raise UnfitError("an image has too many pixels.")
    return _HEAD + base64.b64encode(image).decode("ascii")


def _label(entry: Mapping[str, Any]) -> str:
    found = entry.get("label", "")
    if not isinstance(found, str) or len(found) > _LONGEST:
        raise UnfitError("a label is no short text.")
    return f" (label {found})" if found else ""


def _decibel(entry: Mapping[str, Any], key: str) -> str:
    found = number(entry.get(key))
    if found is None:
        raise UnfitError(f"{key} is no number.")
    return f"{found:.1f} dB"
