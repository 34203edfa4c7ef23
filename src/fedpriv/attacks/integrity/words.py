"""Results in words."""

from collections.abc import Mapping
from typing import Any


def in_words(name: str, found: Mapping[str, Any]) -> str:
    """A result in a line."""
    if found["success"] is None:
        return f"{name}: no test example tells whether it succeeds"
    return (
        f"{name}: success {found['success']:.3f}, {found['baseline']:.3f} without the attack; test accuracy "
        f"{found['accuracy']:.3f}, {found['baseline_accuracy']:.3f} without; {len(found['attackers'])} of "
        f"{found['clients']} clients"
    )
