"""One experiment: assembled from a config, trained, recorded, resumable at any moment."""

from .assembly import Experiment, load_data
from .attempt import Reporter
from .lifecycle import resume, run

__all__ = ["Experiment", "Reporter", "load_data", "resume", "run"]
