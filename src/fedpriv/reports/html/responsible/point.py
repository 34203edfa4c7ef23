"""A statement of the panel."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """What it is about in a few words, and the statement."""

    about: str
    text: str
