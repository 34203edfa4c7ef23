"""Flower's own simulation runtime on Ray carries the messages; the rounds stay in this process (docs/ray.md)."""

from .available import cluster_slots
from .simulation import RayActors

__all__ = ["RayActors", "cluster_slots"]
