"""What an algorithm changes in a client's local training, a file each."""

from .fednova import FedNovaRule
from .local_rule import LocalRule
from .personal import PersonalLayersRule
from .plain import PlainRule
from .scaffold import ScaffoldRule

__all__ = ["FedNovaRule", "LocalRule", "PersonalLayersRule", "PlainRule", "ScaffoldRule"]
