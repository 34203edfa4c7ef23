"""Inference about people: of a client's data a property, of a record an attribute, that no model was meant to tell."""

from .attribute_inference import AttributeInference
from .interface import (
    AttributeAttack,
    AttributeNeeds,
    AttributeObservation,
    PropertyAttack,
    PropertyNeeds,
    PropertyRound,
)
from .property_inference import PropertyInference

__all__ = [
    "AttributeAttack",
    "AttributeInference",
    "AttributeNeeds",
    "AttributeObservation",
    "PropertyAttack",
    "PropertyInference",
    "PropertyNeeds",
    "PropertyRound",
]
