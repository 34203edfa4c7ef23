"""Any client mod as a subject."""

from collections.abc import Callable, Mapping
from typing import Any

from fedpriv.errors import ConfigError

from .subject import Subject


def mod_subject(
    target: Callable[..., Any], arguments: Mapping[str, Any], claims: Mapping[str, Any], *, name: str
) -> Subject:
    """A subject whose every play makes a fresh mod, ``target(**arguments)``.

    Args:
        claims: what the mod cannot say of itself (``claim.KEY=VALUE``).
    """
    raise ConfigError(f"{name}: mods cannot be measured yet.")
