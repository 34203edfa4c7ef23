"""Any ``flwr.serverapp.strategy.Strategy`` as a subject."""

from collections.abc import Callable, Mapping
from typing import Any

from fedpriv.errors import ConfigError

from .subject import Subject


def strategy_subject(
    target: Callable[..., Any], arguments: Mapping[str, Any], claims: Mapping[str, Any], *, name: str
) -> Subject:
    """A subject whose every play makes a fresh ``target(**arguments)``.

    Args:
        claims: what the strategy cannot say of itself (``claim.KEY=VALUE``).
    """
    raise ConfigError(f"{name}: strategies cannot be measured yet.")
