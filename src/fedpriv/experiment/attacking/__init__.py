"""From `attack` in a config to what an adversary sees of a run, and what its attacks come to."""

from .choice import Attacks
from .conduct import attack_run, conduct
from .saved import saved_model
from .watched import Watched
from .watching import Watch

__all__ = ["Attacks", "Watch", "Watched", "attack_run", "conduct", "saved_model"]
