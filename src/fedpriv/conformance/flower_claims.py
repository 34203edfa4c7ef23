"""What a Flower strategy or mod says of itself: by its attributes, or by ``claim.KEY=VALUE`` in its stead."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from fedpriv.accounting.sampled_gaussian import Relation
from fedpriv.errors import ConfigError

# Movements that one unit can make, in units of the clipping norm.
MOVES: Mapping[Relation, float] = {"add_or_remove_one": 1.0, "zero_out": 1.0, "replace_one": 2.0}


@dataclass(frozen=True, kw_only=True)
class Said:
    """Words about one subject.

    Args:
        subject: a fresh one; what it wraps (``strategy``) is looked at after itself.
        claims: key -> value, as the user gave them; they win.
        known: key -> what it means, for messages.

    Raises:
        ConfigError: an unknown key.
    """

    name: str
    subject: Any
    claims: Mapping[str, Any]
    known: Mapping[str, str]

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.claims) - set(self.known)):
            raise ConfigError(f"{self.name}: nothing can be claimed by claim.{unknown[0]}. {self._help}")

    def find(self, key: str, *attributes: str) -> float | None:
        """The number that is claimed, None where nothing is said.

        Args:
            attributes: under which the subject may say it.
        """
        if key in self.claims:
            return self._number(f"claim.{key}", self.claims[key])
        inner = self.subject
        while inner is not None:
            for attribute in attributes:
                if getattr(inner, attribute, None) is not None:
                    return self._number(attribute, getattr(inner, attribute))
            inner = getattr(inner, "strategy", None)
        return None

    def get(self, key: str, *attributes: str) -> float:
        """The number that is claimed, above 0.

        Raises:
            ConfigError: nothing is said, or not a positive number.
        """
        found, words = self.find(key, *attributes), key.replace("_", " ")
        if found is None:
            raise ConfigError(
                f"{self.name} does not say its {words} (no {' or '.join(attributes)}): say what it should hold, by "
                f"claim.{key}=... {self._help}"
            )
        if not 0 < found < math.inf:
            raise ConfigError(f"{self.name} claims nothing with a {words} of {found:g}: give a number above 0.")
        return found

    @property
    def relations(self) -> tuple[Relation, ...]:
        """Those that are claimed."""
        given = self.claims.get("relation")
        if given is not None and given not in MOVES:
            raise ConfigError(f"claim.relation={given}: use one of {', '.join(MOVES)}.")
        return tuple(MOVES) if given is None else (given,)

    @property
    def noise_law(self) -> Literal["gaussian", "laplace"]:
        law: Literal["gaussian", "laplace"] = self.claims.get("noise_law", "gaussian")
        if law not in get_args(Literal["gaussian", "laplace"]):
            raise ConfigError(f"claim.noise_law={law}: use gaussian or laplace.")
        return law

    @property
    def _help(self) -> str:
        return "Known: " + "; ".join(f"claim.{key} ({meaning})" for key, meaning in self.known.items()) + "."

    def _number(self, where: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{self.name}: {where}={value!r} must be a number.")
        return float(value)
