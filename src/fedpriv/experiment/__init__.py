"""One experiment: assembled from a config, trained, recorded, resumable at any moment."""

from .assembly import Experiment
from .attempt import Reporter
from .lifecycle import resume, run
from .loading import load_data

__all__ = ["Experiment", "Reporter", "load_data", "resume", "run"]
