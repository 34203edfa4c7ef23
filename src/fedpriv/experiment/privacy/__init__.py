"""What the config's privacy makes of an experiment: a file for the choices of a kind, and what may be said of them."""

from .choice import Setting
from .promise import Promise
from .terms import PrivacyTerms

__all__ = ["PrivacyTerms", "Promise", "Setting"]
