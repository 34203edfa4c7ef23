"""Results in words."""

from collections.abc import Mapping
from typing import Any


def in_words(name: str, found: Mapping[str, Any]) -> str:
    """A result in a line, of what has no AUC."""
    success, baseline = (_said(found[key]) for key in ("success", "baseline"))
    return (
        f"{name}: success {success}, {baseline} without; test accuracy {found['accuracy']:.3f}, "
        f"{found['baseline_accuracy']:.3f} without; {found['shown']} examples"
    )


def _said(share: float | None) -> str:
    return "not measurable" if share is None else f"{share:.3f}"
