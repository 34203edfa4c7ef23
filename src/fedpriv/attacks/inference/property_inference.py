"""A property of a client's data, from what it sends: a classifier trained on shadow clients' updates."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from fedpriv.errors import ConfigError

from ..observation import FloatArray
from .classifier import log_odds
from .interface import PropertyAttack, PropertyNeeds, PropertyRound


@final
@dataclass(frozen=True, kw_only=True)
class PropertyInference(PropertyAttack):
    """Logistic regression on principal components of updates of length 1.

    The passive attack of Melis, Song, De Cristofaro & Shmatikov 2019 ("Exploiting Unintended Feature Leakage in
    Collaborative Learning", S&P, algorithm 3) on updates of single clients; shadow training with balanced classes is
    that of Ganju, Wang, Yang, Gunter & Borisov 2018 (CCS). Melis et al. use random forests, which need more shadows
    where there are as many features as parameters.

    Args:
        sees: ``updates``; sums and models do not tell clients apart.
        label, group, threshold, shadows, rounds: as in `PropertyNeeds`; ``label`` or ``group``.
        components: principal components of the shadows' updates that the classifier sees.
    """

    sees: str
    label: int | None
    group: Mapping[str, str] | None
    threshold: float
    shadows: int
    rounds: int
    components: int

    def __post_init__(self) -> None:
        where = "attack.property_inference"
        if self.sees != "updates":
            raise ConfigError(
                f"{where}.sees={self.sees}: a client's property is read off its own update, which neither sums nor "
                f"models hold. Use {where}.sees=updates, or leave the attack out."
            )
        if (self.label is None) == (self.group is None):
            raise ConfigError(
                f"{where} needs one property: {where}.label=8 (a class), or {where}.group='{{sex: Female}}'."
            )
        if self.group is not None and len(self.group) != 1:
            raise ConfigError(f"{where}.group={dict(self.group)} must name one attribute and one of its groups.")
        if not 0 < self.threshold <= 1:
            raise ConfigError(f"{where}.threshold={self.threshold} must be a share above 0 and at most 1.")
        for name, value, least in (("shadows", self.shadows, 20), ("rounds", self.rounds, 1)):
            if value < least:
                raise ConfigError(f"{where}.{name}={value} must be at least {least}.")
        if not 1 <= self.components < self.shadows:
            raise ConfigError(f"{where}.components={self.components} must be at least 1, and fewer than the shadows.")

    @property
    def needs(self) -> PropertyNeeds:
        return PropertyNeeds(
            label=self.label, group=self.group, threshold=self.threshold, shadows=self.shadows, rounds=self.rounds
        )

    def log_odds(self, seen: PropertyRound) -> FloatArray:
        return log_odds(
            seen.updates,
            shadows=seen.shadow_updates,
            answers=seen.shadow_has,
            components=self.components,
            learner="linear",
        )
