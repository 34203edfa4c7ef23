"""Inference about people: does a client's data have a property that its model was not meant to tell?"""

from .interface import PropertyAttack, PropertyNeeds, PropertyRound
from .property_inference import PropertyInference

__all__ = ["PropertyAttack", "PropertyInference", "PropertyNeeds", "PropertyRound"]
