"""What the kit measures, one file a group: each property is a function of a subject."""

from collections.abc import Callable, Mapping

from ..subject import Subject
from ..verdict import Finding

Property = Callable[[Subject], Finding]

PROPERTIES: Mapping[str, Property] = {}
