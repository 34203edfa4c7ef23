"""The fixture ``conformance``: tests of one's own mechanism, strategy or mod. Loads nothing before it is used."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .verdict import Verdicts


@pytest.fixture(scope="session")
def conformance() -> "Callable[..., Verdicts]":
    """``conformance("mypackage:MyStrategy", noise_multiplier=1.0).assert_holds()``

    The target may also be the class, factory, strategy or mod itself. Arguments that say what it cannot say of itself
    go in ``claims``: ``conformance(MyMod, claims={"noise_std": 0.1})``.
    """

    def measured(target: Any, *, claims: dict[str, Any] | None = None, **arguments: Any) -> "Verdicts":
        from .kit import CLAIM, measure

        return measure(target, {**arguments, **{CLAIM + key: value for key, value in (claims or {}).items()}})

    return measured
