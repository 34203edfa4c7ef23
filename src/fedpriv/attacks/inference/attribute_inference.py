"""A sensitive attribute of one record, from the message of a client that holds it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, final

from fedpriv.errors import ConfigError

from ..observation import FloatArray
from .classifier import log_odds
from .interface import AttributeAttack, AttributeNeeds, AttributeObservation


@final
@dataclass(frozen=True, kw_only=True)
class AttributeInference(AttributeAttack):
    """A support vector machine on principal components of messages of length 1, taught by records of known attribute.

    The attack of Feng, Hashemi, Hebbar, Annavaram & Narayanan 2021 ("Attribute Inference Attack of Speech Emotion
    Recognition in Federated Learning Settings", section 3), who train a network on shadow clients' updates; here each
    message is of one record. A linear classifier would not do: a gradient changes its sign with the record's label.

    Args:
        sees: ``updates``; sums and models do not tell records apart.
        group: {sensitive attribute: the one of its groups that is asked for}.
        records, shadows, model: as in `AttributeNeeds`.
        components: principal components of the shadows' messages that the classifier sees.
    """

    sees: str
    group: Mapping[str, str] | None
    records: int
    shadows: int
    model: str
    components: int

    def __post_init__(self) -> None:
        where = "attack.attribute_inference"
        if self.sees != "updates":
            raise ConfigError(
                f"{where}.sees={self.sees}: a record's attribute is read off a client's own update, which neither sums "
                f"nor models hold. Use {where}.sees=updates, or leave the attack out."
            )
        if self.group is None or len(self.group) != 1:
            raise ConfigError(f"{where} needs one attribute and one of its groups: {where}.group='{{sex: Female}}'.")
        if self.model not in ("initial", "final"):
            raise ConfigError(f"{where}.model={self.model} is unknown; use one of initial, final.")
        for name, value in (("records", self.records), ("shadows", self.shadows)):
            if value < _FEWEST:
                raise ConfigError(f"{where}.{name}={value} must be at least {_FEWEST}.")
        if not 1 <= self.components < self.shadows:
            raise ConfigError(f"{where}.components={self.components} must be at least 1, and fewer than the shadows.")

    @property
    def needs(self) -> AttributeNeeds:
        assert self.group is not None  # checked above
        ((attribute, group),) = self.group.items()
        model: Literal["initial", "final"] = "final" if self.model == "final" else "initial"
        return AttributeNeeds(attribute=attribute, group=group, records=self.records, shadows=self.shadows, model=model)

    def log_odds(self, seen: AttributeObservation) -> FloatArray:
        return log_odds(
            seen.messages,
            shadows=seen.shadow_messages,
            answers=seen.shadow_has,
            components=self.components,
            learner="kernel",
        )


_FEWEST = 20
