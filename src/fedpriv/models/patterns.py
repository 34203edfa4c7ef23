"""Shell patterns over a model's names, as in ``fc2.*``: case counts, and ``*`` also spans dots."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from fedpriv.errors import ConfigError

_SHOWN = 30


def matching(names: Iterable[str], patterns: Sequence[str], *, what: str) -> set[str]:
    """The names that match at least one pattern.

    Args:
        what: a name is the name of, for the message.

    Raises:
        ConfigError: a pattern that matches no name; the names are listed.
    """
    known = list(names)
    found: set[str] = set()
    for pattern in patterns:
        matched = {name for name in known if fnmatchcase(name, pattern)}
        if not matched:
            raise ConfigError(f"The pattern {pattern} matches no {what} of the model. It has: {listed(known)}.")
        found |= matched
    return found


def listed(names: Sequence[str]) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "none") + more
