"""A finished run, made again from its folder alone, and compared file by file."""

from .comparison import Difference
from .replay import Replayed, replay

__all__ = ["Difference", "Replayed", "replay"]
